// One run: its composite as it grows, its curve, what can be done to it, and what can be had of it.

import { announce, ask, byId, careful, data, make, put, say } from "./common.js";
import { draw, inWords } from "./curve.js";
import { weightsOf } from "./form.js";
import { Sliders } from "./sliders.js";
import { statusOf } from "./words.js";

let run = null; // the one that is shown
let curve = { moments: [], changes: [], losses: [] };
let drawn = ""; // which run, and how much of it, the page shows
let sliders = null;
let steering = false; // whether somebody has a hand on the sliders

let halting = ""; // how the run has been told to halt

/** Forget what the run was told: the lab has been opened again, and has forgotten it too. */
export function forgetHalting() {
  halting = "";
}

export const shownRun = () => run?.id;

/** What makes the address of a picture or a curve of a run another: it has gone on since, come further, or been steered. */
export const version = (each) => `${Math.round(each.since)}-${each.shown}-${each.turns}`;

/** The weights of the losses of a run as they are now. */
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
  byId("along-value").textContent = text;
  byId("along").setAttribute("aria-valuetext", text);
}

function compare() {
  const percent = Number(byId("compare-slider").value);
  byId("after").style.clipPath = `inset(0 ${100 - percent}% 0 0)`;
  byId("before").style.clipPath = run.shown ? `inset(0 0 0 ${percent}%)` : ""; // their shapes differ by a fraction of a pixel
  byId("compare-slider").setAttribute("aria-valuetext", say("compare_value", { percent }));
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
  if (!["", "making", "made"].includes(run.film)) links.push(make("span", { class: "hint" }, run.film)); // why there is none
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

/** Show a run, or what has become of the one that is shown. */
export async function showRun(each) {
  const another = run?.id !== each.id;
  const focused = ["pause", "stop", "go-on"].includes(document.activeElement?.id);
  const before = run?.status;
  run = each;
  byId("none").hidden = true;
  byId("shown").hidden = false;
  const status = statusOf(run);
  byId("status").textContent = run.note ? `${status}: ${run.note}` : status;
  byId("progress").value = ["complete", "settled"].includes(run.status) ? 1 : run.share;
  const active = ["waiting", "working"].includes(run.status);
  byId("pause").hidden = byId("stop").hidden = !active;
  byId("go-on").hidden = !run.goes_on;
  if (another || before !== run.status) halting = "";
  markHalting();
  // The button that was pressed has gone: the one in its place has the focus.
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

/** No run is shown any more. */
export function hideRun() {
  run = null;
  byId("none").hidden = false;
  byId("shown").hidden = true;
}

/** Show which buttons have been pressed already; not by disabling them, which would take the focus away. */
function markHalting() {
  byId("pause").setAttribute("aria-disabled", halting !== "");
  byId("stop").setAttribute("aria-disabled", halting === "stop");
}

const tell = (command, announced) => careful(async () => {
  if (halting === command || halting === "stop") return;
  const of = run.id;
  await ask("POST", `runs/${of}`, { do: command });
  if (of !== run?.id || run.status !== "working" || !announced) return;
  halting = command;
  markHalting();
  announce(say(announced));
});

/** Make what the page shows of a run. */
export function makeRun() {
  sliders = new Sliders(byId("steer-weights"), "now-", () => { steering = true; });
  byId("pause").addEventListener("click", tell("pause", "pausing"));
  byId("stop").addEventListener("click", tell("stop", "stopping"));
  byId("go-on").addEventListener("click", tell("go on"));
  byId("compare-slider").addEventListener("input", compare);
  byId("along").addEventListener("input", showComposite);
  addEventListener("resize", () => draw(byId("curve"), curve));
  byId("code").addEventListener("toggle", careful(showCode));
  byId("downloads").addEventListener("click", careful(async (event) => {
    if (event.target.id === "film-make" && run.film !== "making") await ask("POST", `runs/${run.id}/film`, {});
  }));
  byId("steer-apply").addEventListener("click", careful(async () => {
    const weights = sliders.values(weightsNow());
    if (!Object.keys(weights).length) return;
    await ask("POST", `runs/${run.id}`, { do: "weights", weights });
    Object.assign(run.weights, weights); // as the server will tell in a moment
    steering = false;
    announce(say("steered", { weights: inWords(weights) }));
  }));
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", careful(async () => {
      const text = byId(button.dataset.copy);
      getSelection().selectAllChildren(text);
      if (navigator.clipboard) await navigator.clipboard.writeText(text.textContent);
      else document.execCommand("copy"); // an address that is not a safe one has no clipboard
      announce(say("copied"));
    }));
  }
}
