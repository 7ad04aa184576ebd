// Shared by all scripts of the lab: texts, requests to the server, and helpers to build elements.

export const data = JSON.parse(document.getElementById("data").textContent);
export const byId = (id) => document.getElementById(id);

/** Return a text of the page with its {placeholders} replaced by values. */
export function say(name, values = {}) {
  return data.texts[name].replace(/\{(\w+)\}/g, (whole, key) => (key in values ? values[key] : whole));
}

/** Create an element with attributes and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const READ = 8000; // milliseconds that an announcement is shown
let saying = 0;

/** Show a text in the live region, which screen readers read out, and clear it after some seconds. */
export function announce(text) {
  byId("said").textContent = text;
  clearTimeout(saying);
  saying = setTimeout(() => { byId("said").textContent = ""; }, READ);
}

/** Show a text in an alert; equal text is not written again, since it would be read out again. */
function warn(alert, text) {
  if (alert.textContent !== text) alert.textContent = text;
  alert.hidden = false;
}

/** Show why the last action failed, until the next one. */
export function complain(text) {
  byId("said").textContent = "";
  warn(byId("wrong"), text);
}

/** Ask the user to confirm a removal; resolves to true or false. */
export function confirmed(question) {
  const dialog = byId("asking");
  byId("asking-title").textContent = question;
  dialog.showModal();
  return new Promise((answer) => {
    const end = (removed) => {
      dialog.close();
      answer(removed);
    };
    byId("asking-yes").onclick = () => end(true);
    byId("asking-no").onclick = () => end(false);
    dialog.onclose = () => { // after Escape; the event comes late, and may find the next question open
      if (!dialog.open) answer(false);
    };
  });
}

class Unreached extends Error {}

/** Send a request; returns the JSON of the response, or throws an Error with the server's message. */
export async function ask(method, path, body, headers = {}) {
  const json = body !== undefined && !(body instanceof Blob);
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: { Accept: "application/json", "X-XSRFToken": data.xsrf, ...(json ? { "Content-Type": "application/json" } : {}), ...headers },
      body: json ? JSON.stringify(body) : body,
    });
  } catch {
    throw new Unreached(say("unreached"));
  }
  const found = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(found.error || say("failed"));
  return found;
}

/** Wrap an event listener: hide the previous error, and show the error that the listener throws. */
export const careful = (listener) => async (event) => {
  byId("wrong").hidden = true;
  try {
    await listener(event);
  } catch (error) {
    complain(error.message);
  }
};

/** Return a duration in words. */
export function time(seconds) {
  if (seconds < 5) return say("moment");
  return seconds < 90 ? say("seconds", { count: Math.round(seconds) }) : say("minutes", { count: Math.round(seconds / 60) });
}

export const AGAIN = 3000; // milliseconds until a failed request is repeated
const SILENCE = 25000; // two events that the server sends every ten seconds are missing

/**
 * Receive server-sent events while the page is open: `handleEvent` gets each event, the first with the whole state. A lost
 * connection is reported until it is restored; then `found` is called. Other errors of `handleEvent` are shown once.
 */
export function listen(path, handleEvent, found = () => {}) {
  let source = null;
  let silence = 0;
  let lost = false;
  let out = false;
  let wrong = "";
  const show = (text) => {
    warn(byId("lost"), text);
    lost = true;
  };
  const here = () => {
    clearTimeout(silence);
    silence = setTimeout(() => {
      show(say("lost"));
      again();
    }, SILENCE);
  };
  const receive = async (event) => {
    here();
    let error = null;
    try {
      await handleEvent(JSON.parse(event.data));
    } catch (caught) {
      error = caught;
    }
    if (event.target !== source) return;
    if (error instanceof Unreached) {
      show(say("lost"));
      source.close();
      later();
      return;
    }
    if (error && error.message !== wrong) complain(error.message);
    wrong = error ? error.message : "";
    if (!lost) return;
    lost = false;
    byId("lost").hidden = true;
    announce(say("found"));
    found();
  };
  const open = () => {
    source = new EventSource(path);
    source.onmessage = receive;
    source.addEventListener("here", here);
    source.onerror = () => {
      show(say("lost"));
      if (source.readyState === EventSource.CLOSED) refused();
    };
    here();
  };
  const refused = async () => {
    // The lab responds, but not with events: show its error, or that the session has ended.
    const answer = await fetch(path, { headers: { Accept: "application/json" } }).catch(() => null);
    if (answer?.ok) answer.body.cancel();
    else if (answer?.status === 401) out = true;
    const refusal = answer && !answer.ok ? await answer.json().catch(() => ({})) : {};
    if (out || refusal.error) show(out ? say("out") : refusal.error);
    if (!out) later();
  };
  const later = () => setTimeout(again, AGAIN);
  const again = () => {
    source?.close();
    clearTimeout(silence);
    if (!document.hidden && !out) open();
  };
  // A browser limits the connections to one host: pages in the background close theirs.
  document.addEventListener("visibilitychange", again);
  open();
}

/** Update the children of an element in place, so that the focus and a click in progress are kept. */
export function put(element, ...wanted) {
  const children = wanted.map((child) => (child instanceof Node ? child : document.createTextNode(child)));
  const before = new Map([...element.children].filter((child) => child.dataset.key).map((child) => [child.dataset.key, child]));
  children.forEach((child, place) => {
    const there = element.childNodes[place];
    const known = child.dataset?.key ? before.get(child.dataset.key) : there;
    if (!known || known.nodeName !== child.nodeName || known.dataset?.key !== child.dataset?.key) {
      element.insertBefore(child, there ?? null);
      return;
    }
    if (known !== there) element.insertBefore(known, there ?? null);
    become(known, child);
  });
  while (element.childNodes.length > children.length) element.lastChild.remove();
}

function become(known, wanted) {
  if (known.nodeType === Node.TEXT_NODE) {
    if (known.data !== wanted.data) known.data = wanted.data;
    return;
  }
  for (const { name } of [...known.attributes]) if (!wanted.hasAttribute(name)) known.removeAttribute(name);
  for (const { name, value } of wanted.attributes) if (known.getAttribute(name) !== value) known.setAttribute(name, value);
  put(known, ...wanted.childNodes);
}

/** Apply the light or dark theme: that of the system, unless the user chose one. */
export function initTheme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    root.dataset.theme = localStorage.getItem("gluon-nst-theme") || (system.matches ? "dark" : "light");
    byId("theme").setAttribute("aria-pressed", root.dataset.theme === "dark");
  };
  system.addEventListener("change", show);
  show();
  byId("theme").addEventListener("click", () => {
    localStorage.setItem("gluon-nst-theme", root.dataset.theme === "dark" ? "light" : "dark");
    show();
  });
}
