// The form: what is asked for. Its choices are the recipes' own.

import { announce, ask, byId, careful, complain, data, make, say, time } from "./common.js";
import { chosenPictures, choosePictures } from "./pictures.js";
import { Sliders } from "./sliders.js";

let sliders = null;
let expecting = 0;

const recipe = () => data.recipes[byId("recipe").value];

function options(select, entries) {
  const before = select.value;
  select.replaceChildren(...entries.map(([value, text, disabled]) => make("option", { value, disabled: Boolean(disabled) }, text)));
  if (entries.some(([value, , disabled]) => value === before && !disabled)) select.value = before;
}

/** What a student would ask for with the form as it is. */
export function asked() {
  const values = { ...chosenPictures(), recipe: byId("recipe").value, side: Number(byId("side").value), ...sliders.values(recipe().weights) };
  for (const name of ["init", "preserve_colors"]) if (byId(name).value !== recipe()[name]) values[name] = byId(name).value;
  if (byId("epochs").value) values.epochs = Number(byId("epochs").value);
  if (Number(byId("seed").value)) values.seed = Number(byId("seed").value);
  return values;
}

function followRecipe() {
  const { weights, epochs, init, preserve_colors: colors } = recipe();
  sliders.set(weights);
  byId("epochs").value = "";
  byId("epochs").placeholder = epochs.join(", ");
  byId("init").value = init;
  byId("preserve_colors").value = colors;
}

async function expect() {
  const number = (expecting += 1);
  const values = asked();
  const { sides, waiting } = await ask("POST", "expected", values);
  if (number !== expecting) return; // the form is another by now
  const errors = new Set(Object.values(sides).map(({ error }) => error));
  const [error] = errors;
  if (errors.size === 1 && error) return complain(error); // whatever the size
  options(byId("side"), Object.entries(sides).map(([side, { seconds, allowed }]) => [
    side,
    allowed ? say("size_option", { side, time: time(seconds) }) : say("size_not", { side }),
    !allowed,
  ]));
  byId("queue").textContent = waiting ? say("waiting_now", { count: waiting }) : "";
}

/** Put the form as a run was asked for. */
export function fillForm(run) {
  choosePictures(run.asked);
  byId("recipe").value = run.asked.recipe;
  followRecipe();
  byId("side").value = run.asked.side;
  sliders.set(recipe().weights, weightsOf(run.asked));
  for (const name of ["init", "preserve_colors"]) byId(name).value = run.asked[name] ?? recipe()[name];
  byId("epochs").value = run.asked.epochs ?? "";
  byId("seed").value = run.asked.seed;
  announce(say("again_done"));
  byId("start").focus();
}

/** The weights that a run was asked for with. */
export function weightsOf(values) {
  const found = { ...data.recipes[values.recipe].weights };
  for (const name of data.weights) if (values[name] !== null && values[name] !== undefined) found[name] = values[name];
  return found;
}

/** Make the form; `started` gets the run that it asks for. */
export function makeForm(started) {
  sliders = new Sliders(byId("weights"), "new-");
  options(byId("recipe"), Object.entries(data.recipes).map(([name, { title }]) => [name, title ? `${name}: ${title}` : name]));
  byId("recipe").value = data.default;
  options(byId("side"), data.sides.map((side) => [String(side), String(side)]));
  byId("side").value = data.sides.includes(256) ? 256 : data.sides[0];
  for (const name of ["init", "preserve_colors"]) options(byId(name), data.choices[name].map((value) => [value, say(`${name}_${value}`)]));
  followRecipe();
  byId("recipe").addEventListener("change", followRecipe);
  byId("form").addEventListener("change", careful(expect));
  byId("form").addEventListener("submit", careful(async (event) => {
    event.preventDefault();
    byId("start").disabled = true;
    try {
      started(await ask("POST", "runs", asked()));
      announce(say("starting"));
      byId("run").focus();
    } finally {
      byId("start").disabled = false;
    }
  }));
}
