// Entry point of the teacher's page: students, their runs, and the latest pictures of the class.

import { announce, ask, byId, careful, listen, make, put, say, initTheme } from "./common.js";
import { statusOf } from "./words.js";

const latest = (student) => [...student.runs].filter((run) => run.shown).sort((one, other) => other.since - one.since)[0];

function sheet(students) {
  const made = students.map((student) => [student, latest(student)]).filter(([, run]) => run);
  put(byId("sheet"), ...made.map(([student, run]) => make("li", { "data-key": run.id },
    make("img", { src: `teacher/runs/${run.id}/latest.jpg?v=${run.shown}`, alt: say("teacher_picture_of", { name: student.name }) }),
    make("p", {}, student.name))));
}

function now(student) {
  const active = student.runs.filter((run) => ["working", "waiting"].includes(run.status));
  if (!active.length) return [make("span", { class: "hint" }, say("teacher_idle"))];
  return active.map((run) => make("div", { class: "controls", "data-key": run.id }, make("span", {}, `${run.asked.recipe}, ${run.asked.side}: ${statusOf(run)}`),
    make("button", { type: "button", class: "quiet", "data-stop": run.id, "data-name": student.name, "aria-label": say("teacher_stop_of", { name: student.name }) }, say("teacher_stop"))));
}

async function handleEvent({ students, workers, waiting, load, memory }) {
  const working = students.flatMap((student) => student.runs).filter((run) => run.status === "working").length;
  byId("load").textContent = say("teacher_load", { working, workers, waiting, load, memory });
  byId("nobody").hidden = students.length > 0;
  byId("students").hidden = !students.length;
  put(byId("rows"), ...students.map((student) => make("tr", { "data-key": student.id }, make("th", { scope: "row" }, student.name),
    make("td", {}, student.pictures), make("td", {}, student.runs.length), make("td", {}, ...now(student)))));
  sheet(students);
}

initTheme();
listen("teacher/events", handleEvent);
byId("rows").addEventListener("click", careful(async (event) => {
  const { stop, name } = event.target.dataset;
  if (!stop) return;
  await ask("POST", `teacher/runs/${stop}`, { do: "stop" });
  announce(say("teacher_stopped", { name }));
}));
byId("large").addEventListener("click", () => {
  const large = document.body.classList.toggle("large");
  byId("large").textContent = say(large ? "teacher_sheet_back" : "teacher_sheet_show");
});
byId("names").addEventListener("change", () => document.body.classList.toggle("nameless", !byId("names").checked));
