// Keeps the status page up to date. The server writes the page; what has changed
// in it takes the place of what was there, so there is one who says how things
// look, with and without JavaScript.
"use strict";

const every = 5000; // ms between two looks
const patience = 8000; // ms for an answer

const silence = document.getElementById("silence");
let written = parts(document); // as the server wrote them
let answeredAt = document.querySelector("#about time").textContent;
let timer;

/** The parts of a page that change, by their id. */
function parts(page) {
  const found = new Map();
  for (const part of page.querySelectorAll("[data-part]")) found.set(part.id, part.innerHTML);
  return found;
}

async function look() {
  clearTimeout(timer);
  try {
    const response = await fetch("/", { cache: "no-store", redirect: "error", signal: AbortSignal.timeout(patience) });
    if (!response.ok) throw new Refusal(response.status);
    show(new DOMParser().parseFromString(await response.text(), "text/html"));
    say("");
  } catch (error) {
    say(reason(error));
  }
  timer = setTimeout(look, every);
}

class Refusal extends Error {
  constructor(status) {
    super(`status ${status}`);
    this.status = status;
  }
}

function reason(error) {
  const then = `What is below is as of ${answeredAt}.`;
  if (error instanceof Refusal && error.status === 401) return `The server wants its token again: load this page anew. ${then}`;
  if (error instanceof Refusal) return `The server has answered with an error (${error.status}) since ${answeredAt}. ${then}`;
  return `The server has not answered since ${answeredAt}. This page goes on asking. What is below is from then.`;
}

/** Says what is wrong with the page itself, once: readers hear it. */
function say(text) {
  if (silence.textContent === text) return;
  silence.textContent = text;
  document.documentElement.classList.toggle("silent", text !== "");
  document.title = text === "" ? title() : "No answer – welcomed";
}

const title = () => `${document.getElementById("verdict").textContent} – welcomed`;

function show(page) {
  if (page.body.dataset.version !== document.body.dataset.version) {
    location.reload(); // another version may look otherwise
    return;
  }
  const fresh = parts(page);
  for (const part of document.querySelectorAll("[data-part]")) {
    const html = fresh.get(part.id);
    if (html === undefined || html === written.get(part.id)) continue;
    part.replaceChildren(...document.importNode(page.getElementById(part.id), true).childNodes);
  }
  written = fresh;
  answeredAt = page.querySelector("#about time").textContent;
  judge(page);
}

/** The sentence at the top is spoken by readers, so it is touched only when it is another. */
function judge(page) {
  document.getElementById("verdict-box").className = page.getElementById("verdict-box").className;
  const now = document.getElementById("verdict");
  const next = page.getElementById("verdict");
  if (now.textContent === next.textContent) return;
  now.replaceWith(document.importNode(next, true));
  if (silence.textContent === "") document.title = title();
}

/** On a phone, sections are folded: their headings are buttons there. */
const narrow = matchMedia("(max-width: 40rem)");

function fold() {
  for (const section of document.querySelectorAll(".folds")) {
    const heading = section.querySelector("h2");
    const title = heading.textContent;
    section.classList.toggle("folded", narrow.matches);
    heading.replaceChildren(narrow.matches ? unfolder(section, title) : title);
  }
}

function unfolder(section, title) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = title;
  button.setAttribute("aria-expanded", "false");
  button.addEventListener("click", () => {
    button.setAttribute("aria-expanded", String(!section.classList.toggle("folded")));
  });
  return button;
}

narrow.addEventListener("change", fold);
fold();

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") look();
  else clearTimeout(timer);
});
timer = setTimeout(look, every);
