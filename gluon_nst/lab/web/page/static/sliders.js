// Sliders for the weights of the losses, on a logarithmic scale; the leftmost position is 0.

import { data, make, say } from "./common.js";

const REACH = 20; // steps to each side; ten steps are a factor of ten
const FALLBACK = { content_weight: 1, style_weight: 1000, tv_weight: 10 }; // for recipes whose weight is 0

export const short = (value) => String(Number(Number(value).toPrecision(3)));

/** The sliders of a form, in `place`: `set(usual, now)` sets them, `values(before)` returns the changed weights. */
export class Sliders {
  constructor(place, prefix, changed = () => {}) {
    this.usual = {};
    this.inputs = {};
    for (const name of data.weights) {
      const id = `${prefix}${name}`;
      const input = make("input", { type: "range", id, min: -REACH - 1, max: REACH, step: 1, value: 0, "aria-describedby": `${id}-help` });
      const output = make("output", { for: id });
      input.addEventListener("input", () => {
        this.describe(name);
        changed();
      });
      this.inputs[name] = { input, output };
      const help = make("p", { class: "hint", id: `${id}-help` }, say(`${name}_help`));
      place.append(make("div", { class: "weight" }, make("label", { for: id }, `${say(name)} `, output), input, help));
    }
  }

  base(name) {
    return this.usual[name] || FALLBACK[name];
  }

  value(name) {
    const position = Number(this.inputs[name].input.value);
    if (position === 0) return this.base(name);
    return position < -REACH ? 0 : Number((this.base(name) * 10 ** (position / 10)).toPrecision(2));
  }

  describe(name) {
    const { input, output } = this.inputs[name];
    const value = this.value(name);
    let text = value === 0 ? say("off") : short(value);
    if (value === this.usual[name]) text += ` (${say("usual")})`;
    output.textContent = text;
    input.setAttribute("aria-valuetext", text);
  }

  set(usual, now = usual) {
    this.usual = { ...usual };
    for (const name of data.weights) {
      const ratio = now[name] / this.base(name);
      this.inputs[name].input.value = ratio > 0 ? Math.max(-REACH, Math.min(REACH, Math.round(10 * Math.log10(ratio)))) : -REACH - 1;
      this.describe(name);
    }
  }

  /** Return the weights that differ from `before`. */
  values(before) {
    const found = {};
    for (const name of data.weights) {
      if (Math.abs(this.value(name) - before[name]) > 1e-3 * before[name]) found[name] = this.value(name);
    }
    return found;
  }
}
