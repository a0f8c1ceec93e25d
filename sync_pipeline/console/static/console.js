// The console works without this: it saves waiting, never asks for more than the pages offer.
"use strict";

const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

// Fields that matter only for some choice are put away for the others.
function showWhatMatters(form) {
  for (const part of $$("[data-when]", form)) {
    part.hidden = part.dataset.when.split(";").some((condition) => {
      const [name, wanted] = condition.split("=");
      const chosen = new FormData(form).get(name);
      return chosen !== null && !wanted.split(" ").includes(chosen);
    });
  }
}
for (const form of $$("form")) {
  if (form.querySelector("[data-when]")) {
    form.addEventListener("change", () => showWhatMatters(form));
    showWhatMatters(form);
  }
}

// A form is sent once, and says that it is at work; what is hard to take back is asked for.
for (const form of $$("form")) {
  form.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.confirm;
    if ((question && !window.confirm(question)) || form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    form.setAttribute("aria-busy", "true");
    if (form.dataset.busy && event.submitter) event.submitter.textContent = form.dataset.busy;
  });
}
window.addEventListener("pageshow", (event) => { if (event.persisted) window.location.reload(); });

// "/" leads to the search and "?" to the help, as on many pages; not while the user types.
document.addEventListener("keydown", (event) => {
  if (!"/?".includes(event.key) || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  if (event.key === "?") { if (document.querySelector("a[href='/help']")) window.location.assign("/help"); return; }
  const search = document.querySelector("input[type=search]");
  if (search) { event.preventDefault(); search.focus(); }
});

// What is to be copied is selected whole.
for (const input of $$("[data-copied]")) input.addEventListener("focus", () => input.select());

// A long list of fields shows what fits what is typed.
for (const input of $$("[data-filter]")) {
  input.addEventListener("input", () => {
    for (const row of $$(`#${input.dataset.filter} li`)) row.hidden = !row.textContent.toLowerCase().includes(input.value.toLowerCase());
  });
}

// Problems are read out and reached first.
document.querySelector("[data-focus]")?.focus();

// Times: beside how long ago it was, the time in the browser's zone, unless one was chosen; the exact one in UTC is its title.
const DAY = { year: "numeric", month: "2-digit", day: "2-digit" }, CLOCK = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const { zone, days } = document.documentElement.dataset;
function showInMyZone(root) {
  if (zone) return;
  for (const time of $$("time > span", root)) {
    const at = new Date(time.parentElement.dateTime);
    const day = at.toLocaleDateString(days, DAY), today = new Date().toLocaleDateString(days, DAY);
    time.textContent = `${day === today ? "" : `${day} `}${at.toLocaleTimeString("sv-SE", CLOCK)}`;
  }
}
showInMyZone(document);

// Progress: the part of a page that changes by itself, until it is done; then the whole page is loaded.
async function follow(part) {
  const said = document.querySelector("[data-said]"), pause = Number(part.dataset.every ?? 1000);
  if (document.hidden) {
    document.addEventListener("visibilitychange", () => follow(part), { once: true });
    return;
  }
  try {
    const answer = await fetch(part.dataset.poll, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.headers.get("X-Under-Way") !== "yes") {
      window.location.reload();
      return;
    }
    const text = await answer.text();
    if (text !== part.dataset.shown && !(part.dataset.every && part.contains(document.activeElement))) {
      part.dataset.shown = text;
      part.innerHTML = text;
      showInMyZone(part);
      const status = part.querySelector("[data-status]")?.textContent.trim().replace(/\s+/g, " ") ?? "";
      if (said && said.textContent !== status) said.textContent = status;
    }
  } catch {
    if (said) said.textContent = "The console does not answer. It is asked again.";
  }
  setTimeout(() => follow(part), pause);
}
for (const part of $$("[data-poll]")) setTimeout(() => follow(part), Number(part.dataset.every ?? 500));

// A field's form: problems are shown while the user types, and five records show what it would do.
function watch(form) {
  const verdict = form.querySelector("[data-verdict]");
  const preview = document.querySelector("[data-preview]");
  let timer, asked = 0;
  const mark = (place, problem, warning) => {
    for (const note of $$(".problem", form)) {
      const isIt = problem && note.id === `${place}-problem`;
      note.hidden = !isIt;
      note.textContent = isIt ? problem : "";
      const input = document.getElementById(note.id.replace(/-problem$/, ""));
      if (isIt) input?.setAttribute("aria-invalid", "true"); else input?.removeAttribute("aria-invalid");
      note.closest(".field")?.classList.toggle("bad", Boolean(isIt));
    }
    verdict.textContent = problem ? "Not valid yet." : warning || "Valid.";
    verdict.className = `verdict ${problem || warning ? "poor" : "good"}`;
  };
  const look = async () => {
    const mine = ++asked;
    try {
      const answer = await fetch(form.dataset.check, { method: "POST", body: new URLSearchParams(new FormData(form)) });
      if (mine !== asked || !answer.ok) return;
      const found = await answer.json();
      mark(found.place, found.problem, found.warning);
      if (preview && !found.problem) preview.innerHTML = found.preview;
    } catch {
      verdict.textContent = "The console does not answer; the field is checked when it is saved.";
    }
  };
  form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, 350); });
}
for (const form of $$("form[data-check]")) watch(form);
