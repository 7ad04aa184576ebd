// What all scripts of the lab share: its words, its way to the server, and small things to build a page of.

export const data = JSON.parse(document.getElementById("data").textContent);
export const byId = (id) => document.getElementById(id);

/** A text of the page, with {names} in it replaced. */
export function say(name, values = {}) {
  return data.texts[name].replace(/\{(\w+)\}/g, (whole, key) => (key in values ? values[key] : whole));
}

/** An element with attributes, listeners ("onclick") and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const READ = 8000; // milliseconds in which a line is read
let saying = 0;

/** Tell everybody, those who listen too; the line goes when it has been read. */
export function announce(text) {
  byId("wrong").hidden = true;
  byId("said").textContent = text;
  clearTimeout(saying);
  saying = setTimeout(() => { byId("said").textContent = ""; }, READ);
}

/** Tell what went wrong. */
export function complain(text) {
  byId("said").textContent = "";
  byId("wrong").textContent = text;
  byId("wrong").hidden = false;
  byId("wrong").scrollIntoView({ block: "nearest" });
}

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
    throw new Error(say("lost"));
  }
  const found = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(found.error || say("failed"));
  return found;
}

/** A listener that shows what went wrong in it. */
export const careful = (listener) => async (event) => {
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

/** Hear of news for as long as the page is looked at: `hear` gets each of them. */
export function listen(path, hear) {
  let source = null;
  let lost = false;
  const open = () => {
    source = new EventSource(path);
    source.onmessage = (event) => hear(JSON.parse(event.data));
    source.onopen = () => {
      if (lost) announce(say("found"));
      lost = false;
    };
    source.onerror = () => {
      if (!lost) complain(say("lost"));
      lost = true;
      if (source.readyState === EventSource.CLOSED) setTimeout(again, 3000);
    };
  };
  const again = () => {
    source?.close();
    if (!document.hidden) open();
  };
  // A browser has few connections for one address: pages in the background do without.
  document.addEventListener("visibilitychange", again);
  open();
}

/** Replace the children of an element only where they would be others, so that the focus stays. */
export function put(element, ...children) {
  const fresh = make("div", {}, ...children);
  if (fresh.innerHTML !== element.innerHTML) element.replaceChildren(...fresh.childNodes);
}

/** Light or dark: as the machine has it, until somebody chooses. */
export function themed() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    root.dataset.theme = localStorage.getItem("theme") || (system.matches ? "dark" : "light");
  };
  system.addEventListener("change", show);
  show();
  byId("theme").addEventListener("click", () => {
    localStorage.setItem("theme", root.dataset.theme === "dark" ? "light" : "dark");
    show();
  });
}
