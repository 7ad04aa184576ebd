// The loss curve of a run: losses by epoch on a logarithmic axis, with the starts of sizes and the weight changes.

import { make, say } from "./common.js";
import { short } from "./sliders.js";

const HEIGHT = 210, LEFT = 52, RIGHT = 100, TOP = 14, BOTTOM = 26, STAGE = 76;
const LINES = ["content", "style", "tv", "total"]; // the order of the server's values, after the epoch

function svg(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

export const inWords = (weights) =>
  Object.entries(weights).map(([name, value]) => `${say(name)} ${short(value)}`).join(", ");

let drawn = null; // {x, line}: the scale of the epochs and the marker of the curve that was drawn last

/** Move the marker to the composite after `done` epochs. */
export function mark(done) {
  if (!drawn) return;
  drawn.line.setAttribute("d", done ? `M${drawn.x(done - 1)} ${TOP}V${HEIGHT - BOTTOM}` : "");
}

/** Draw the curve of a run, as the server sends it, into the element `place`. */
export function draw(place, data) {
  const points = data.losses;
  drawn = null;
  if (!points.length) return place.replaceChildren();
  const last = points[points.length - 1];
  const all = points.flatMap((point) => point.slice(1)).filter((loss) => loss > 0);
  const top = Math.max(...all, 1e-12);
  const bottom = Math.max(Math.min(...all, top), top / 1e5);
  const WIDTH = Math.max(280, place.clientWidth || 640); // so that its text has the size of the page's text
  const span = Math.log(top / bottom) || 1;
  const epochs = Math.max(data.epochs, last[0] + 1, 2);
  const x = (at) => LEFT + ((WIDTH - LEFT - RIGHT) * at) / (epochs - 1);
  const y = (loss) => TOP + (HEIGHT - TOP - BOTTOM) * Math.min(1, Math.log(top / Math.max(loss, bottom)) / span);
  const label = say("curve_label", { content: short(last[1]), style: short(last[2]), tv: short(last[3]), total: short(last[4]) });
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  picture.append(svg("path", { class: "axis", d: `M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}` }));
  for (let power = Math.ceil(Math.log10(bottom)); power <= Math.log10(top); power += 1) {
    const at = y(10 ** power);
    picture.append(svg("path", { class: "axis", d: `M${LEFT} ${at}H${WIDTH - RIGHT}` }));
    picture.append(svg("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, short(10 ** power)));
  }
  picture.append(svg("text", { x: LEFT, y: HEIGHT - 8 }, "1"));
  picture.append(svg("text", { x: WIDTH - RIGHT, y: HEIGHT - 8, "text-anchor": "end" }, epochs));
  data.stages.forEach(({ at, size }, number) => {
    picture.append(svg("path", { class: "stage", d: `M${x(at)} ${TOP}V${HEIGHT - BOTTOM}` }));
    const next = data.stages[number + 1];
    if (next && x(next.at) - x(at) < STAGE) return; // no room for its size
    picture.append(svg("text", { x: x(at) + 4, y: HEIGHT - BOTTOM - 6 }, `${size[0]} × ${size[1]}`));
  });
  data.changes.forEach(({ at }, number) => {
    picture.append(svg("path", { class: "change", d: `M${x(at)} ${TOP}V${HEIGHT - BOTTOM}` }));
    picture.append(svg("text", { class: "changed", x: x(at), y: TOP - 2, "text-anchor": "middle" }, number + 1));
  });
  const ends = [];
  LINES.forEach((name, number) => {
    if (!points.some((point) => point[number + 1] > 0)) return;
    const path = points.map((point) => `${x(point[0]).toFixed(1)} ${y(point[number + 1]).toFixed(1)}`).join("L");
    picture.append(svg("path", { class: `line ${name}`, d: `M${path}` }));
    ends.push({ name, y: y(last[number + 1]) });
  });
  // The names beside the ends of their lines, without overlaps.
  ends.sort((one, other) => one.y - other.y);
  let free = TOP + 6;
  for (const end of ends) {
    const at = Math.max(end.y + 4, free);
    free = at + 14;
    picture.append(svg("text", { class: end.name, x: WIDTH - RIGHT + 8, y: at }, say(`curve_${end.name}`)));
  }
  drawn = { x, line: svg("path", { class: "marker" }) };
  picture.append(drawn.line);
  const changes = data.changes.map(({ weights }) => make("li", {}, say("curve_change", { weights: inWords(weights) })));
  place.replaceChildren(picture, ...(changes.length ? [make("ol", { class: "changes" }, ...changes)] : []));
}
