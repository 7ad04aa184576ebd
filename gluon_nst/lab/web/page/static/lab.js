// The student's page.

import { careful, listen, themed } from "./common.js";
import { makeForm } from "./form.js";
import { hear, makeGallery } from "./gallery.js";
import { loadPictures, receivePictures } from "./pictures.js";
import { makeRun, showRun } from "./run.js";

themed();
makeForm((run) => showRun(run));
makeRun();
makeGallery();
receivePictures();
careful(loadPictures)(null);
listen("events", hear);
