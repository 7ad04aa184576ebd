// The current run: composite, loss curve, controls and downloads.

import { announce, ask, byId, careful, data, make, put, say } from "./common.js";
import { draw, inWords, mark } from "./curve.js";
import { weightsOf } from "./form.js";
import { Sliders } from "./sliders.js";
import { statusOf } from "./words.js";

let run = null; // the run that is shown
let curve = { moments: [], changes: [], losses: [] };
let drawn = ""; // id, version and status of the run whose curve is drawn
let sliders = null;
let steering = false; // whether the sliders have unapplied changes

let halting = ""; // the pending halt command: "pause", "stop" or none

/** Discard the pending halt command: the lab was restarted, and lost it. */
export function forgetHalting() {
  halting = "";
}

export const shownRun = () => run?.id;

/** Return the cache key of a run's pictures and curve; it changes when the run resumes, progresses or is steered. */
export const version = (each) => `${Math.round(each.since)}-${each.shown}-${each.turns}`;

/** Return the current weights of the losses. */
function weightsNow() {
  const now = weightsOf(run.asked);
  for (const change of curve.changes) Object.assign(now, change.weights);
  return Object.assign(now, run.weights);
}

function showComposite() {
  const moment = curve.moments[Number(byId("along").value)];
  const latest = moment === undefined || Number(byId("along").value) === curve.moments.length;
  const done = latest ? run.shown : moment;
  const after = byId("after");
  after.hidden = !run.shown;
  if (run.shown) {
    after.src = latest ? `runs/${run.id}/latest.jpg?v=${version(run)}` : `runs/${run.id}/moments/${moment}?v=${Math.round(run.since)}`;
    after.alt = say("picture_of", { done });
  }
  const text = latest ? say("along_latest") : say("along_value", { done, epochs: run.epochs });
  mark(done);
  byId("along-value").textContent = text;
  byId("along").setAttribute("aria-valuetext", text);
}

function compare() {
  const percent = Number(byId("compare-slider").value);
  byId("after").style.clipPath = `inset(0 ${100 - percent}% 0 0)`;
  byId("before").style.clipPath = run.shown ? `inset(0 0 0 ${percent}%)` : ""; // the two pictures differ in size by a fraction of a pixel
  byId("divider").hidden = !run.shown;
  byId("divider").style.left = `${percent}%`;
  byId("compare-slider").setAttribute("aria-valuetext", say("compare_value", { percent }));
}

/** Give the frame the shape of the picture, and its true size, or twice that if there is room. */
function shapeFrame() {
  const { naturalWidth: width, naturalHeight: height } = byId("before");
  if (!width) return;
  byId("frame").style.setProperty("--ratio", width / height);
  byId("frame").style.setProperty("--most", `${Math.round((2 * run.asked.side * width) / Math.max(width, height))}px`);
}

async function showCurve() {
  const of = run.id;
  const found = await ask("GET", `runs/${of}/curve?v=${version(run)}`);
  if (of !== run?.id) return;
  curve = found;
  draw(byId("curve"), curve);
  const along = byId("along");
  compare();
  const atEnd = along.value === along.max;
  along.max = curve.moments.length;
  if (atEnd) along.value = along.max;
  along.disabled = !curve.moments.length;
  if (!steering) sliders.set(data.recipes[run.asked.recipe].weights, weightsNow());
  showComposite();
}

function showDownloads() {
  if (!run.pictured) {
    put(byId("film"));
    return put(byId("downloads"), make("span", { class: "hint" }, say("download_later")));
  }
  const links = ["picture", "record", "recipe", "losses"].map((what) =>
    make("a", { class: "button", href: `runs/${run.id}/${what}?download=1`, download: true }, say(`download_${what}`)));
  if (run.film === "made") links.push(make("a", { class: "button", href: `runs/${run.id}/film?download=1`, download: true }, say("film_made")));
  else links.push(make("button", { type: "button", id: "film-make", "aria-disabled": run.film === "making" }, say(run.film === "making" ? "film_making" : "film_make")));
  if (!["", "making", "made"].includes(run.film)) links.push(make("span", { class: "hint" }, run.film)); // the error
  const focused = document.activeElement?.id === "film-make";
  put(byId("downloads"), ...links);
  if (focused && run.film === "made") byId("downloads").lastElementChild.focus();
  put(byId("film"), ...(run.film === "made" ? [make("img", { src: `runs/${run.id}/film?v=${version(run)}`, alt: say("film_label") })] : []));
}

async function showCode() {
  if (!byId("code").open) return;
  const of = run.id;
  const { command, python } = await ask("GET", `runs/${of}/program`);
  if (of !== run?.id) return;
  byId("code-command").textContent = command;
  byId("code-python").textContent = python;
  const names = [...new Set([run.asked.content, ...run.asked.styles.map(([name]) => name)])];
  const files = names.map((name) => [`pictures/${name}/original`, run.labels[name]]);
  if (run.steered && run.pictured) files.push([`runs/${run.id}/recipe?download=1`, "recipe.toml"]);
  put(byId("code-files"), ...files.map(([href, label]) => make("li", {}, make("a", { href, download: true }, label))));
}

/** Show a run, or update the one that is shown. */
export async function showRun(each) {
  const another = run?.id !== each.id;
  const focused = ["pause", "stop", "go-on"].includes(document.activeElement?.id);
  const before = run?.status;
  run = each;
  byId("none").hidden = byId("watch-none").hidden = true;
  byId("shown").hidden = false;
  const status = statusOf(run);
  byId("status").textContent = run.note ? `${status}: ${run.note}` : status;
  const loading = run.status === "working" && !run.done;
  byId("frame").classList.toggle("loading", !run.shown && ["working", "waiting"].includes(run.status));
  if (loading) byId("progress").removeAttribute("value");
  else byId("progress").value = ["complete", "settled"].includes(run.status) ? 1 : run.share;
  const active = ["waiting", "working"].includes(run.status);
  byId("pause").hidden = byId("stop").hidden = !active;
  byId("go-on").hidden = !run.goes_on;
  if (another || before !== run.status) halting = "";
  markHalting();
  // The button that was pressed is now hidden: focus the one in its place.
  if (!another && before !== run.status && focused) byId(active ? "pause" : run.goes_on ? "go-on" : "run").focus();
  byId("steer").hidden = !(active || run.goes_on);
  showDownloads();
  if (another) {
    curve = { moments: [], changes: [], losses: [] };
    drawn = "";
    steering = false;
    byId("curve").replaceChildren();
    byId("film").replaceChildren();
    byId("before").src = `pictures/${run.asked.content}`;
    byId("along").max = byId("along").value = 0;
    sliders.set(data.recipes[run.asked.recipe].weights, weightsNow());
    showComposite();
    compare();
  } else if (before !== run.status) announce(byId("status").textContent);
  if (another || before !== run.status) await showCode();
  const now = run && `${run.id} ${version(run)} ${run.status}`;
  if (run?.shown && now !== drawn) {
    await showCurve();
    drawn = now;
  }
}

/** Hide the run. */
export function hideRun() {
  run = null;
  byId("none").hidden = byId("watch-none").hidden = false;
  byId("shown").hidden = byId("steer").hidden = true;
  byId("curve").replaceChildren();
}

/** Mark pressed buttons with aria-disabled; the attribute `disabled` would remove the focus. */
function markHalting() {
  byId("pause").setAttribute("aria-disabled", halting !== "");
  byId("stop").setAttribute("aria-disabled", halting === "stop");
}

const sendCommand = (command, announced) => careful(async () => {
  if (halting === command || halting === "stop") return;
  const of = run.id;
  await ask("POST", `runs/${of}`, { do: command });
  if (of !== run?.id || run.status !== "working" || !announced) return;
  halting = command;
  markHalting();
  announce(say(announced));
});

/** Initialise the section of the run. */
export function makeRun() {
  sliders = new Sliders(byId("steer-weights"), "now-", () => { steering = true; });
  byId("pause").addEventListener("click", sendCommand("pause", "pausing"));
  byId("stop").addEventListener("click", sendCommand("stop", "stopping"));
  byId("go-on").addEventListener("click", sendCommand("go on"));
  byId("steer").hidden = true;
  byId("before").addEventListener("load", shapeFrame);
  byId("compare-slider").addEventListener("input", compare);
  byId("along").addEventListener("input", showComposite);
  addEventListener("resize", () => {
    draw(byId("curve"), curve);
    if (run) showComposite();
  });
  byId("code").addEventListener("toggle", careful(showCode));
  byId("downloads").addEventListener("click", careful(async (event) => {
    if (event.target.id === "film-make" && run.film !== "making") await ask("POST", `runs/${run.id}/film`, {});
  }));
  byId("steer-apply").addEventListener("click", careful(async () => {
    const weights = sliders.values(weightsNow());
    if (!Object.keys(weights).length) return;
    await ask("POST", `runs/${run.id}`, { do: "weights", weights });
    Object.assign(run.weights, weights); // until the server's next event confirms it
    steering = false;
    announce(say("steered", { weights: inWords(weights) }));
  }));
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", careful(async () => {
      const text = byId(button.dataset.copy);
      getSelection().selectAllChildren(text);
      if (navigator.clipboard) await navigator.clipboard.writeText(text.textContent);
      else document.execCommand("copy"); // without HTTPS there is no clipboard API
      announce(say("copied"));
    }));
  }
}
