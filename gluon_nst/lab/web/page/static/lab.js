// The student's page.

import { careful, complain, listen, themed } from "./common.js";
import { makeForm, restoreForm } from "./form.js";
import { hear, makeGallery } from "./gallery.js";
import { loadPictures, receivePictures } from "./pictures.js";
import { makeRun, showRun } from "./run.js";

themed();
makeForm((run) => showRun(run));
makeRun();
makeGallery();
receivePictures();
careful(async () => {
  await loadPictures();
  restoreForm();
})();
listen("events", hear, () => loadPictures().catch((error) => complain(error.message)));
