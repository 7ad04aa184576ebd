// The pictures: the list of available ones, and uploads by file, drop and camera.

import { announce, ask, byId, careful, complain, confirmed, data, make, say } from "./common.js";

let known = [];
const weights = {}; // of the styles, by picture id

const chosen = (kind) => [...document.querySelectorAll(`input[name="${kind}"]:checked`)].map((input) => input.value);

/** Return the selected pictures: {content, styles: [[id, weight]]}. */
export function chosenPictures() {
  const styles = chosen("style");
  return { content: chosen("content")[0], styles: styles.map((name) => [name, styles.length > 1 ? weights[name] ?? 1 : 1]) };
}

/** Select these pictures, as far as they exist. */
export function choosePictures({ content, styles }) {
  const here = (name) => known.some((picture) => picture.id === name);
  const wanted = new Map(styles.filter(([name]) => here(name)));
  if (here(content)) byId(`content-${content}`).checked = true;
  const inputs = document.querySelectorAll('input[name="style"]');
  if (wanted.size) for (const input of inputs) input.checked = wanted.has(input.value);
  for (const [name, weight] of wanted) weights[name] = weight;
  showChosen();
}

function thumb(kind, picture, checked) {
  const id = `${kind}-${picture.id}`;
  const input = make("input", { type: kind === "content" ? "radio" : "checkbox", name: kind, id, value: picture.id, checked });
  const name = make("span", { class: "hidden" }, picture.label);
  const label = make("label", { for: id, title: picture.label }, make("img", { src: `pictures/${picture.id}`, alt: "" }), name);
  const remove = make("button", { type: "button", class: "quiet", "aria-label": say("remove_picture", { name: picture.label }) }, "×");
  remove.addEventListener("click", careful(async () => {
    if (!(await confirmed(say("remove_picture_ask", { name: picture.label })))) return;
    await ask("DELETE", `pictures/${picture.id}`);
    await loadPictures();
    byId("contents").querySelector("input:checked").focus();
    announce(say("removed_picture", { name: picture.label }));
  }));
  return make("div", { class: "thumb" }, input, label, ...(picture.own ? [] : [remove]));
}

/** Show the chosen pictures large, and the weights of several styles. */
function showChosen() {
  const [[content], styles] = [chosen("content"), chosen("style")];
  const labelOf = (id) => known.find((picture) => picture.id === id).label;
  for (const [kind, ids] of [["content", [content]], ["style", styles]]) {
    const well = byId(`${kind}-well`);
    const wanted = `pictures/${ids[0]}`;
    if (well.getAttribute("src") !== wanted) well.src = wanted;
    well.alt = ids.map(labelOf).join(", ");
    well.title = well.alt;
  }
  const rows = styles.length < 2 ? [] : styles.map((name) => {
    const id = `weight-${name}`;
    const input = make("input", { type: "number", id, min: 0.1, max: 100, step: 0.1, value: weights[name] ?? 1 });
    input.addEventListener("change", () => { weights[name] = Number(input.value) > 0 ? Number(input.value) : 1; });
    return make("div", {}, make("label", { for: id }, say("style_weight_of", { name: labelOf(name) })), input);
  });
  byId("style-weights").replaceChildren(...rows);
}

/** Return what a new picture becomes: the first one the content, the next one the style, others the content. */
function kindOfNew() {
  const own = new Set(known.filter((picture) => !picture.own).map((picture) => picture.id));
  return own.has(chosen("content")[0]) && !chosen("style").some((id) => own.has(id)) ? "style" : "content";
}

/** Load and show the list of pictures; `fresh` is the id of a new one, which becomes the content or the style. */
export async function loadPictures(fresh = null, kind = "content") {
  const before = chosenPictures();
  const { pictures } = await ask("GET", "pictures");
  if (JSON.stringify(pictures) === JSON.stringify(known)) return; // keeps the focus
  known = pictures;
  const has = (name) => known.some((picture) => picture.id === name);
  const content = fresh && kind === "content" ? fresh : has(before.content) ? before.content : known[0].id;
  const styles = fresh && kind === "style" ? [fresh] : before.styles.map(([name]) => name).filter(has);
  const styled = styles.length ? styles : [known[1].id];
  byId("contents").replaceChildren(...known.map((picture) => thumb("content", picture, picture.id === content)));
  byId("styles").replaceChildren(...known.map((picture) => thumb("style", picture, styled.includes(picture.id))));
  showChosen();
  byId("form").dispatchEvent(new Event("filled"));
}

/** Add these files; errors are reported together at the end, and do not stop the other files. */
async function addAll(files) {
  const wrong = [];
  for (const file of files) await add(file).catch((error) => wrong.push(error.message));
  if (wrong.length) complain(wrong.join("\n"));
}

async function add(file) {
  const most = Math.round(data.upload / 1e6);
  if (file.size > data.upload) throw new Error(say("too_large", { name: file.name, most }));
  announce(say("adding", { name: file.name }));
  const picture = await ask("POST", "pictures", file, { "X-Name": encodeURIComponent(file.name), "Content-Type": "application/octet-stream" });
  const kind = kindOfNew();
  await loadPictures(picture.id, kind);
  const values = { name: picture.label, height: picture.height, width: picture.width };
  announce(kind === "content" ? say("added_content", values) : say("added_style", values));
}

function dropping() {
  const shown = byId("dropping");
  document.addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    shown.hidden = false;
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) shown.hidden = true; });
  document.addEventListener("drop", careful(async (event) => {
    event.preventDefault();
    shown.hidden = true;
    await addAll([...event.dataTransfer.files]);
  }));
}

function camera() {
  const dialog = byId("photo"), video = byId("video");
  let stream = null;
  const close = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    if (dialog.open) dialog.close();
  };
  byId("camera").addEventListener("click", careful(async () => {
    if (!navigator.mediaDevices) { // without HTTPS there is no camera API; on a phone the file input takes photos
      byId("file").setAttribute("capture", "environment");
      byId("file").click();
      byId("file").removeAttribute("capture");
      return;
    }
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
    } catch {
      return complain(say("camera_none"));
    }
    video.srcObject = stream;
    dialog.showModal();
  }));
  byId("photo-take").addEventListener("click", careful(async () => {
    const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await new Promise((done) => { canvas.toBlob(done, "image/jpeg", 0.95); });
    close();
    await addAll([new File([blob], "photo.jpg", { type: "image/jpeg" })]);
  }));
  byId("photo-cancel").addEventListener("click", close);
  dialog.addEventListener("close", close);
}

/** Initialise uploads. */
export function receivePictures() {
  byId("file").addEventListener("change", careful(async (event) => {
    event.stopPropagation(); // the listener of the form would hide the errors of the files
    const files = [...event.target.files];
    event.target.value = "";
    await addAll(files);
  }));
  byId("styles").addEventListener("change", (event) => {
    const styles = chosen("style");
    if (!styles.length || styles.length > data.styles) {
      event.target.checked = !event.target.checked;
      announce(say(styles.length ? "styles_most" : "styles_none", { most: data.styles }));
    }
    showChosen();
  });
  byId("contents").addEventListener("change", showChosen);
  dropping();
  camera();
}
