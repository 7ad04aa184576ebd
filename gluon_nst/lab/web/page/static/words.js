// The status of a run in words, for the student's and the teacher's page.

import { say, time } from "./common.js";

const ENDED = ["complete", "settled"];

/** Return the status of a run in words. */
export function statusOf(run) {
  const values = { done: run.done, epochs: run.epochs, place: run.place, time: time(run.status === "waiting" ? run.starts : run.left) };
  if (run.status === "waiting") return say(run.place === 1 && run.starts < 5 ? "status_waiting_next" : "status_waiting", values);
  if (run.status === "working" && !run.done) return say("status_beginning");
  if (run.status === "paused" && !run.done) return say("status_paused_new");
  if (run.status === "out of memory") return say("status_memory");
  if (ENDED.includes(run.status)) values.time = time(run.seconds);
  return say(`status_${run.status}`, values);
}
