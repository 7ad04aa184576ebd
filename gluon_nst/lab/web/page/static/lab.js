// Entry point of the student's page.

import { AGAIN, byId, complain, listen, initTheme } from "./common.js";
import { makeForm, restoreForm } from "./form.js";
import { handleEvent, makeGallery } from "./gallery.js";
import { loadPictures, receivePictures } from "./pictures.js";
import { makeRun, showRun } from "./run.js";

initTheme();
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
listen("events", handleEvent, () => loadPictures().catch((error) => complain(error.message)));
