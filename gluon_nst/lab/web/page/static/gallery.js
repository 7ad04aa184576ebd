// The gallery: all runs of the student, and a comparison of two of them.

import { announce, ask, byId, careful, confirmed, data, make, put, say } from "./common.js";
import { inWords } from "./curve.js";
import { fillForm, weightsOf } from "./form.js";
import { forgetHalting, hideRun, showRun, shownRun, version } from "./run.js";
import { statusOf } from "./words.js";

const runs = new Map();
const compared = new Set();
const PAIR = { content: "pair_content", style: "pair_style", run: "pair_run" }; // texts of the rows of the comparison

const picture = (run) =>
  run.shown ? make("img", { src: `runs/${run.id}/latest.jpg?v=${version(run)}`, alt: say("picture_of", { done: run.shown }) }) : make("div", { class: "blank" });

/** Return the title of a run: its recipe, its size and the time of its request. */
function titled(run) {
  const since = new Date(run.since * 1000).toLocaleTimeString(data.texts.language);
  return `${run.asked.recipe}, ${run.asked.side}, ${since}`;
}

function card(run) {
  const title = titled(run);
  const named = (text) => `${text}: ${title}, ${statusOf(run)}`;
  const button = (name, text) => make("button", { type: "button", class: "quiet", "data-do": name, "data-key": name, "data-run": run.id, "aria-label": named(text) }, text);
  const id = `compare-${run.id}`;
  const choose = make("label", { for: id, "data-key": "choose" }, make("input", { type: "checkbox", id, "data-do": "compare", "data-run": run.id, "aria-label": named(say("choose")) }), say("choose"));
  return make(
    "li", { class: run.id === shownRun() ? "open" : "", "data-key": run.id }, picture(run),
    make("div", { class: "about", "data-key": "about" }, make("p", {}, make("strong", {}, title)), make("p", { class: "hint" }, statusOf(run)),
      make("div", { class: "controls" }, button("open", say("open")), button("again", say("again")),
        ...(run.status === "working" ? [] : [button("remove", say("remove"))]), choose)),
  );
}

function showCards() {
  const all = [...runs.values()].sort((one, other) => other.since - one.since);
  byId("gallery-hint").textContent = all.length > 1 ? say("compare_hint") : all.length ? "" : say("gallery_none");
  put(byId("cards"), ...all.map(card));
  for (const run of all) byId(`compare-${run.id}`).checked = compared.has(run.id);
}

/** Return the differences of two runs: [text, value of one, value of the other]. */
function differences(one, other) {
  const describe = (run) => {
    const { content, styles, recipe, side, seed, epochs, init, preserve_colors: colors } = run.asked;
    const usual = data.recipes[recipe];
    const words = {
      content: run.labels[content],
      style: styles.map(([name, weight]) => (styles.length > 1 ? `${run.labels[name]} (${weight})` : run.labels[name])).join(", "),
      recipe,
      size: side,
      epochs: epochs ?? usual.epochs.join(", "),
      init: say(`init_${init ?? usual.init}`),
      preserve_colors: say(`preserve_colors_${colors ?? usual.preserve_colors}`),
      seed,
      run: statusOf(run),
    };
    for (const [name, value] of Object.entries(weightsOf(run.asked))) words[name] = value;
    if (run.steered) words.steer = (run.changes ?? []).map(({ at, weights }) => `${at + 1}: ${inWords(weights)}`).join("; ");
    return words;
  };
  const [first, second] = [describe(one), describe(other)];
  return [...new Set([...Object.keys(first), ...Object.keys(second)])]
    .filter((name) => String(first[name]) !== String(second[name]))
    .map((name) => [say(PAIR[name] ?? name), String(first[name] ?? ""), String(second[name] ?? "")]);
}

async function showCompared() {
  const pair = [...compared].map((id) => runs.get(id)).filter(Boolean);
  byId("compared").hidden = pair.length < 2;
  if (pair.length < 2) return;
  for (const run of pair) if (run.steered) run.changes = (await ask("GET", `runs/${run.id}/curve?v=${version(run)}`)).changes;
  const figure = (run) => make("figure", {}, picture(run), make("figcaption", {}, `${titled(run)}: ${statusOf(run)}`));
  put(byId("pair"), ...pair.map(figure));
  const rows = differences(...pair).map(([what, ...values]) => make("tr", {}, make("th", { scope: "row" }, what), ...values.map((value) => make("td", {}, value))));
  const head = make("thead", {}, make("tr", {}, make("th", { scope: "col" }, say("compare_what")), make("th", { scope: "col" }, "1"), make("th", { scope: "col" }, "2")));
  put(byId("differences"), rows.length ? make("table", {}, head, make("tbody", {}, ...rows)) : make("p", {}, say("compare_same")));
}

/** Handle an event of the server: changed runs, ids of removed runs, and whether these are all runs. */
export async function handleEvent({ runs: fresh, gone, all }) {
  if (all) forgetHalting();
  if (all) gone = [...runs.keys()].filter((id) => !fresh.some((run) => run.id === id));
  if (gone.includes(shownRun())) hideRun();
  for (const run of fresh) runs.set(run.id, run);
  for (const id of gone) {
    runs.delete(id);
    compared.delete(id);
  }
  const shown = runs.get(shownRun());
  const [latest] = [...runs.values()].sort((one, other) => other.since - one.since);
  const next = shown ? fresh.includes(shown) && shown : latest;
  const showing = next && showRun(next); // it marks the card, then fetches the curve
  showCards();
  await showing;
  if (fresh.some((run) => compared.has(run.id)) || gone.length) await showCompared();
}

const DO = {
  open: async (run) => {
    await showRun(run);
    showCards();
    announce(say("opened", { recipe: run.asked.recipe, side: run.asked.side }));
    byId("run").focus();
    byId("run").scrollIntoView();
  },
  again: (run) => fillForm(run),
  remove: async (run) => {
    if (!(await confirmed(say("remove_run", { run: titled(run) })))) return;
    await ask("DELETE", `runs/${run.id}`);
    byId("gallery").focus();
    announce(say("removed"));
  },
};

/** Initialise the gallery. */
export function makeGallery() {
  byId("cards").addEventListener("click", careful(async (event) => {
    const { do: what, run } = event.target.dataset;
    if (what in DO) await DO[what](runs.get(run));
  }));
  byId("cards").addEventListener("change", careful(async (event) => {
    const { run } = event.target.dataset;
    compared.delete(run);
    if (event.target.checked) compared.add(run);
    while (compared.size > 2) compared.delete([...compared][0]);
    showCards();
    await showCompared();
  }));
  byId("compare-close").addEventListener("click", () => {
    compared.clear();
    showCards();
    byId("compared").hidden = true;
    byId("gallery").focus();
  });
}
