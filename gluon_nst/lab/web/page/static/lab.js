// The student's page.

import { careful, listen, themed } from "./common.js";
import { makeForm } from "./form.js";
import { hear, makeGallery } from "./gallery.js";
import { loadPictures, receivePictures } from "./pictures.js";
import { hideRun, makeRun, showRun, shownRun } from "./run.js";

themed();
makeForm((run) => showRun(run));
makeRun();
makeGallery();
receivePictures();
careful(loadPictures)(null);
listen("events", careful(async (told) => {
  if (told.gone.includes(shownRun())) hideRun();
  await hear(told);
}));
