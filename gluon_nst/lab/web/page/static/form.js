// The form for a new run. Its choices are derived from the recipes.

import { announce, ask, byId, careful, complain, data, make, say, time } from "./common.js";
import { chosenPictures, choosePictures } from "./pictures.js";
import { Sliders } from "./sliders.js";

let sliders = null;
let expecting = 0;

// The form is restored after a reload; behind a proxy, other pages share the storage, hence the path in the key.
const KEPT = `gluon-nst-form ${location.pathname}`;
let before = null;
try {
  before = JSON.parse(sessionStorage.getItem(KEPT));
} catch { /* damaged: keep the default form */ }

const recipe = () => data.recipes[byId("recipe").value];

function options(select, entries) {
  const before = select.value;
  select.replaceChildren(...entries.map(([value, text, disabled]) => make("option", { value, disabled: Boolean(disabled) }, text)));
  if (entries.some(([value, , disabled]) => value === before && !disabled)) select.value = before;
}

const USUAL = { fast: "fast", fine: "fine", "d2l-2019": "book" }; // recipes with a button, and the names of their texts

/** Mark the button of the recipe, and describe the recipe. */
function describeRecipe() {
  const name = byId("recipe").value;
  for (const input of document.querySelectorAll('input[name="usual-recipe"]')) input.checked = input.value === name;
  byId("recipe-about").textContent = name in USUAL ? say(`recipe_${USUAL[name]}_about`) : say("recipe_other_about", { recipe: name });
}

function makeRecipeButtons() {
  const buttons = Object.keys(USUAL).filter((name) => name in data.recipes).flatMap((name) => {
    const id = `usual-${name}`;
    const input = make("input", { type: "radio", class: "hidden", name: "usual-recipe", id, value: name, "aria-describedby": "recipe-about" });
    input.addEventListener("change", () => {
      byId("recipe").value = name;
      followRecipe();
    });
    return [input, make("label", { class: "button", for: id }, say(`recipe_${USUAL[name]}`))];
  });
  byId("usual-recipes").replaceChildren(...buttons);
}

/** Select a value, if the element offers it. */
function select(id, value) {
  const offered = [...byId(id).options].some((option) => option.value === String(value) && !option.disabled);
  if (offered) byId(id).value = value;
}

/** Return the request that the form describes. */
export function asked() {
  const values = { ...chosenPictures(), recipe: byId("recipe").value, side: Number(byId("side").value), ...sliders.values(recipe().weights) };
  for (const name of ["init", "preserve_colors"]) if (byId(name).value !== recipe()[name]) values[name] = byId(name).value;
  if (byId("epochs").value) values.epochs = Number(byId("epochs").value);
  if (Number(byId("seed").value)) values.seed = Number(byId("seed").value);
  return values;
}

function followRecipe() {
  const { weights, epochs, init, preserve_colors: colors } = recipe();
  describeRecipe();
  sliders.set(weights);
  byId("epochs").value = "";
  byId("epochs").placeholder = epochs.join(", ");
  select("init", init);
  select("preserve_colors", colors);
}

const complete = ({ content, styles }) => content !== undefined && styles.length > 0;

async function expect() {
  const number = (expecting += 1);
  const values = asked();
  if (!complete(values)) return;
  const { sides, waiting } = await ask("POST", "expected", values);
  if (number !== expecting) return; // the form has changed since
  const errors = new Set(Object.values(sides).map(({ error }) => error));
  const [error] = errors;
  if (errors.size === 1 && error) return complain(error); // the same error for every size
  options(byId("side"), Object.entries(sides).map(([side, { seconds, allowed }]) => [
    side,
    allowed ? say("size_option", { side, time: time(seconds) }) : say("size_not", { side }),
    !allowed,
  ]));
  byId("queue").textContent = waiting ? say("waiting_now", { count: waiting }) : "";
}

function fill(values) {
  choosePictures(values);
  select("recipe", values.recipe);
  followRecipe();
  select("side", values.side);
  sliders.set(recipe().weights, weightsOf(values));
  for (const name of ["init", "preserve_colors"]) select(name, values[name] ?? recipe()[name]);
  byId("epochs").value = values.epochs ?? "";
  byId("seed").value = values.seed ?? 0;
  const changed = asked();
  const hidden = ["init", "preserve_colors", "epochs", "seed", ...data.weights];
  if (hidden.some((name) => name in changed) || !(changed.recipe in USUAL)) byId("more").open = true;
  byId("form").dispatchEvent(new Event("filled"));
}

/** Fill the form with the settings of a run. */
export function fillForm(run) {
  fill(run.asked);
  announce(say("again_done"));
  byId("start").focus();
}

/** Restore the form after a reload, once its pictures are loaded. */
export function restoreForm() {
  if (before && before.recipe in data.recipes) fill(before);
}

/** Return the weights of a request. */
export function weightsOf(values) {
  const found = { ...data.recipes[values.recipe].weights };
  for (const name of data.weights) if (values[name] !== null && values[name] !== undefined) found[name] = values[name];
  return found;
}

/** Initialise the form; `started` is called with each new run. */
export function makeForm(started) {
  sliders = new Sliders(byId("weights"), "new-");
  makeRecipeButtons();
  options(byId("recipe"), Object.entries(data.recipes).map(([name, { title }]) => [name, title ? `${name}: ${title}` : name]));
  byId("recipe").value = data.default;
  options(byId("side"), data.sides.map((side) => [String(side), String(side)]));
  byId("side").value = data.sides.includes(256) ? 256 : data.sides[0];
  for (const name of ["init", "preserve_colors"]) options(byId(name), data.choices[name].map((value) => [value, say(`${name}_${value}`)]));
  followRecipe();
  byId("recipe").addEventListener("change", followRecipe);
  byId("form").addEventListener("change", careful(expect));
  byId("form").addEventListener("filled", () => expect().catch((error) => complain(error.message)));
  for (const kind of ["input", "change", "filled"]) {
    byId("form").addEventListener(kind, () => sessionStorage.setItem(KEPT, JSON.stringify(asked())));
  }
  byId("form").addEventListener("submit", careful(async (event) => {
    event.preventDefault();
    if (byId("start").getAttribute("aria-disabled") === "true") return;
    const values = asked();
    if (!complete(values)) throw new Error(say("pictures_none"));
    byId("start").setAttribute("aria-disabled", true); // `disabled` would remove the focus
    try {
      started(await ask("POST", "runs", values));
      announce(say("starting"));
      byId("run").focus();
      byId("run").scrollIntoView();
    } finally {
      byId("start").setAttribute("aria-disabled", false);
    }
  }));
}
