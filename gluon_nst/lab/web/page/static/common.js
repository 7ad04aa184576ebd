// What all scripts of the lab share: its words, its way to the server, and small things to build a page of.

export const data = JSON.parse(document.getElementById("data").textContent);
export const byId = (id) => document.getElementById(id);

/** A text of the page, with {names} in it replaced. */
export function say(name, values = {}) {
  return data.texts[name].replace(/\{(\w+)\}/g, (whole, key) => (key in values ? values[key] : whole));
}

/** An element with attributes and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const READ = 8000; // milliseconds in which a line is read
let saying = 0;

/** Tell everybody, those who listen too; the line goes when it has been read. */
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

/** Ask whether something is to be removed; gives whether it is. */
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

/** Ask the server; gives its JSON, or throws an Error with its sentence. */
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

/** A listener to what somebody does: it shows what went wrong in it, and no longer what did before. */
export const careful = (listener) => async (event) => {
  byId("wrong").hidden = true;
  try {
    await listener(event);
  } catch (error) {
    complain(error.message);
  }
};

/** Seconds in words. */
export function time(seconds) {
  if (seconds < 5) return say("moment");
  return seconds < 90 ? say("seconds", { count: Math.round(seconds) }) : say("minutes", { count: Math.round(seconds / 60) });
}

export const AGAIN = 3000; // milliseconds until something that failed is tried again
const SILENCE = 25000; // two events that the server sends every ten seconds are missing

/**
 * Receive news for as long as the page is looked at: `hear` gets each of them, first the whole state. A lost
 * connection is shown until there is one again; then `found` is called. Another error of `hear` is shown once.
 */
export function listen(path, hear, found = () => {}) {
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
      await hear(JSON.parse(event.data));
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
    // The lab answers, but not with news: it says why, or the page is not let in any more.
    const answer = await fetch(path, { headers: { Accept: "application/json" } }).catch(() => null);
    if (answer?.ok) answer.body.cancel();
    else if (answer?.status === 401) out = true;
    const told = answer && !answer.ok ? await answer.json().catch(() => ({})) : {};
    if (out || told.error) show(out ? say("out") : told.error);
    if (!out) later();
  };
  const later = () => setTimeout(again, AGAIN);
  const again = () => {
    source?.close();
    clearTimeout(silence);
    if (!document.hidden && !out) open();
  };
  // A browser has few connections for one address: pages in the background do without.
  document.addEventListener("visibilitychange", again);
  open();
}

/** Let an element have these children: those that it has become them, so that the focus, and a click half done, stay. */
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

/** Light or dark: as the machine has it, until somebody chooses. */
export function themed() {
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
