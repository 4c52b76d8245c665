// The steps of one photo: enter → submit → watch → show.
"use strict";

const WAIT_S = 25;
const ROOT = document.body.dataset.root; // the path below which a proxy serves this page
const UPLOADS_AT_ONCE = 4; // a dropped folder may hold thousands
const ATTEMPTS = 5;
const LEFT_BY_SYSTEMS = /^(\.|thumbs\.db$|desktop\.ini$)/i; // files that operating systems put into folders
const NOTHING_SENT = { detail: "The server cannot be reached." };

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const retryAfter = (response) => Number(response.headers.get("Retry-After")) || 1;

// Only our own page can read this cookie. Sent back in a header, it proves that the page made the request.
const token = () => document.cookie.match(/(?:^|; )(?:__Host-)?segue_csrf=([^;]*)/)?.[1] ?? "";

// A load balancer in front of several shards reads the key in the header. Encoding makes any text fit into a header, and
// changes no key.
async function session(method, key) {
  const headers = { "X-CSRF-Token": token(), ...(key && { Authorization: `Bearer ${encodeURIComponent(key)}` }) };
  const request = fetch(`${ROOT}/session`, { method, headers });
  const response = await request.catch(() => Promise.reject(NOTHING_SENT));
  if (!response.ok) throw { ...(await response.json()), retryAfter: retryAfter(response) };
}

let entered;

// On a public page all photos share one session. The server continues the browser's existing one.
function enter() {
  if (document.body.dataset.entry !== "public") return undefined;
  entered ??= session("POST").catch((problem) => {
    entered = undefined;
    throw problem;
  });
  return entered;
}

function card(name, file) {
  const element = document.getElementById("job").content.cloneNode(true).firstElementChild;
  if (file) element.querySelector(".photo").src = URL.createObjectURL(file);
  element.querySelector(".photo").alt = name;
  element.querySelector(".name").textContent = name;
  document.getElementById("jobs").prepend(element);
  return element;
}

function setStatus(element, status, text) {
  element.dataset.status = status;
  element.querySelector(".status").textContent = text;
  const progress = element.querySelector("progress");
  if (status === "queued" || status === "running") progress.removeAttribute("value");
  progress.hidden = status === "succeeded" || status === "failed";
}

// XMLHttpRequest, because fetch does not report the progress of an upload. The key makes retries safe.
function send(element, file, key) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("image", file);
    request.open("POST", `${ROOT}/v1/jobs`);
    request.setRequestHeader("Idempotency-Key", key);
    request.setRequestHeader("X-CSRF-Token", token());
    request.responseType = "json";
    request.upload.onprogress = (event) => {
      element.querySelector("progress").value = (100 * event.loaded) / event.total;
    };
    request.onerror = () => reject(NOTHING_SENT);
    request.onload = () => {
      if (request.status < 300) resolve(request.response);
      else reject({ ...(request.response ?? NOTHING_SENT), retryAfter: Number(request.getResponseHeader("Retry-After")) });
    };
    request.send(form);
  });
}

async function submit(element, file) {
  const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16)).join("-");
  for (let attempt = 1; ; attempt += 1) {
    try {
      await enter();
      return await send(element, file, key);
    } catch (problem) {
      const ended = problem.status === 401 && entered;
      if (ended) entered = undefined;
      const hopeless = problem.retryable === false || problem.code === "not_accepting"; // a user would rather know at once
      if (attempt === ATTEMPTS || (hopeless && !ended)) throw problem;
      await pause(problem.retryAfter || attempt);
    }
  }
}

async function watch(element, job) {
  while (job.status === "queued" || job.status === "running") {
    setStatus(element, job.status, job.status === "queued" ? "queued" : "being segmented");
    try {
      const response = await fetch(job.links.self, {
        headers: { Prefer: `wait=${WAIT_S}`, "If-None-Match": `"${job.revision}"` },
        cache: "no-store",
      });
      if (response.status === 200) job = await response.json();
      else if (response.status === 401) return { ...job, status: "failed", error: await response.json() };
      else if (response.status !== 304) await pause(retryAfter(response));
    } catch {
      await pause(2); // the server is unreachable, but still has the job
    }
  }
  return job;
}

function swatch(color) {
  const square = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const fill = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  fill.setAttribute("width", "100%");
  fill.setAttribute("height", "100%");
  fill.setAttribute("fill", `rgb(${color.join(",")})`);
  square.append(fill);
  return square;
}

// fetch instead of <img src>, whose error event does not say why the picture is missing.
async function picture(link) {
  for (let attempt = 1; ; attempt += 1) {
    const response = await fetch(link).catch(() => undefined);
    if (response?.ok) return URL.createObjectURL(await response.blob());
    const problem = (await response?.json().catch(() => undefined)) ?? NOTHING_SENT;
    if (attempt === ATTEMPTS || problem.retryable === false) throw problem;
    await pause(response ? retryAfter(response) : attempt);
  }
}

async function show(element, job) {
  if (job.status !== "succeeded") return setStatus(element, "failed", job.error?.detail ?? job.status);
  const mask = element.querySelector(".mask");
  mask.src = await picture(job.links.overlay);
  await mask.decode();
  mask.hidden = false;
  for (const entry of job.result.classes) {
    const item = document.createElement("li");
    item.append(swatch(entry.color), `${entry.name} ${(100 * entry.fraction).toFixed(1)} %`);
    element.querySelector(".classes").append(item);
  }
  element.querySelector(".download").href = job.links.mask;
  element.querySelector(".kept").textContent = `kept until ${new Date(job.retained_until).toLocaleString()}`;
  element.querySelector(".links").hidden = false;
  setStatus(element, "succeeded", `done in ${(job.timings_ms.total / 1000).toFixed(2)} s`);
}

let uploads = 0;
const waiting = [];

async function inTurn(upload) {
  if (uploads === UPLOADS_AT_ONCE) await new Promise((resolve) => waiting.push(resolve));
  else uploads += 1;
  try {
    return await upload();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else uploads -= 1;
  }
}

// `name`: the path within a dropped folder.
async function segment(file, name = file.name) {
  const element = card(name, file);
  try {
    await show(element, await watch(element, await inTurn(() => submit(element, file))));
  } catch (problem) {
    setStatus(element, "failed", problem.detail ?? "The mask could not be shown.");
  }
}

const promised = (call) => new Promise((resolve, reject) => call(resolve, reject));

async function walk(entry) {
  const name = entry.fullPath.replace(/^\//, "");
  try {
    if (entry.isFile) return void segment(await promised((resolve, reject) => entry.file(resolve, reject)), name);
    const reader = entry.createReader();
    let found = 0;
    // A reader returns about a hundred entries at a time, then an empty list.
    for (let page; (page = await promised((resolve, reject) => reader.readEntries(resolve, reject))).length; ) {
      const photos = page.filter((inside) => !LEFT_BY_SYSTEMS.test(inside.name));
      found += photos.length;
      for (const inside of photos) await walk(inside);
    }
    if (!found) setStatus(card(name), "failed", "The folder has no files.");
  } catch (error) {
    setStatus(card(name), "failed", `The file or folder cannot be read: ${error.message}`);
  }
}

// The browser provides entries and files only during the event. A folder's contents need its entry.
function dropped(transfer) {
  for (const item of Array.from(transfer.items).filter((one) => one.kind === "file")) {
    const entry = item.webkitGetAsEntry?.();
    if (entry) walk(entry);
    else segment(item.getAsFile());
  }
}

function takePhotos(drop) {
  const segmentAll = (files) => Array.from(files).forEach((file) => segment(file));
  drop.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("file").addEventListener("change", (event) => {
    segmentAll(event.target.files);
    event.target.value = "";
  });
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop") dropped(event.dataTransfer);
    });
  }
}

function takeKey(form) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await session("POST", document.getElementById("key").value.trim());
      location.reload();
    } catch (problem) {
      form.querySelector("[role=alert]").textContent = problem.detail;
    }
  });
}

function offerSignOut(button) {
  button.addEventListener("click", () => session("DELETE").finally(() => location.reload()));
}

async function endSession(session) {
  await fetch(`${ROOT}/sessions/${session.id}`, { method: "DELETE", headers: { "X-CSRF-Token": token() } });
  if (session.current) location.reload();
}

async function listSessions(list) {
  const response = await fetch(`${ROOT}/sessions`, { cache: "no-store" });
  if (!response.ok) return list.replaceChildren((await response.json()).detail);
  const { data } = await response.json();
  list.replaceChildren(...data.map((session) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.textContent = "End";
    button.addEventListener("click", () => endSession(session).then(() => listSessions(list)));
    const used = new Date(session.last_used_at).toLocaleString();
    item.append(`${session.current ? "This browser" : session.agent || "A browser"}, last used ${used} `, button);
    return item;
  }));
}

function offerSessions(details) {
  details.addEventListener("toggle", () => details.open && listSessions(details.querySelector("ul")));
}

const PARTS = [["drop", takePhotos], ["sign-in", takeKey], ["sign-out", offerSignOut], ["sessions", offerSessions]];
for (const [id, begin] of PARTS) {
  const element = document.getElementById(id);
  if (element) begin(element);
}
