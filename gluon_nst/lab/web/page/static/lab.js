// Entry point of the student's page.

import { AGAIN, byId, complain, listen, themed } from "./common.js";
import { makeForm, restoreForm } from "./form.js";
import { hear, makeGallery } from "./gallery.js";
import { loadPictures, receivePictures } from "./pictures.js";
import { makeRun, showRun } from "./run.js";

themed();
makeForm((run) => showRun(run));
makeRun();
makeGallery();
receivePictures();
const begin = async (failed) => {
  try {
    await loadPictures();
    if (failed) byId("wrong").hidden = true;
    restoreForm();
  } catch (error) {
    complain(error.message);
    setTimeout(begin, AGAIN, true);
  }
};
begin(false);
listen("events", hear, () => loadPictures().catch((error) => complain(error.message)));
