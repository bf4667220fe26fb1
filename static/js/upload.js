// Send large files in pieces, show how far they are, and go on where a broken connection stopped.
// <form data-upload data-uploads="/api/v1/uploads" data-next="/models/x/register"> with an <input type=file>.
// Without this file the same form is sent as one multipart request.
"use strict";

const PIECE = 8 * 1024 * 1024;
const PATIENCE = [500, 1000, 2000, 4000, 8000, 15000, 30000];

class Refused extends Error {}

async function answer(response) {
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const error = new Refused([problem.detail, problem.remedy].filter(Boolean).join(" ") || `The server answered ${response.status}.`);
  error.status = response.status;
  error.offset = Number(response.headers.get("Upload-Offset") ?? NaN);
  throw error;
}

const ask = (url, options = {}) => fetch(url, { ...options, headers: { "X-CSRFToken": csrf(), Accept: "application/json", ...options.headers } }).then(answer);
const rest = (ms) => new Promise((done) => setTimeout(done, ms));
// The same file, chosen again after the page was closed, goes on where it stopped.
const memory = (file) => `upload:${file.name}:${file.size}:${file.lastModified}`;

async function begun(file, uploads) {
  const known = localStorage.getItem(memory(file));
  if (known) {
    try {
      const upload = await (await ask(`${uploads}/${known}`)).json();
      if (upload.state === "open" && upload.size === file.size) return upload;
    } catch (error) { if (!(error instanceof Refused)) throw error; }
  }
  const made = await (await ask(uploads, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ filename: file.name, size: file.size }) })).json();
  localStorage.setItem(memory(file), made.id);
  return made;
}

// One piece by XMLHttpRequest: fetch() cannot say how much of a body has gone.
function piece(url, blob, offset, onProgress, signal) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("PATCH", url);
    request.setRequestHeader("Content-Type", "application/offset+octet-stream");
    request.setRequestHeader("Upload-Offset", offset);
    request.setRequestHeader("X-CSRFToken", csrf());
    request.setRequestHeader("Accept", "application/json");
    request.upload.onprogress = (event) => onProgress(offset + event.loaded);
    request.onload = () => answer(new Response(request.status === 204 ? null : request.response, { status: request.status, headers: { "Upload-Offset": request.getResponseHeader("Upload-Offset") ?? "" } })).then(done, failed);
    request.onerror = request.ontimeout = () => failed(new TypeError("The connection broke."));
    signal.addEventListener("abort", () => { request.abort(); failed(new DOMException("Stopped.", "AbortError")); });
    request.send(blob);
  });
}

async function send(file, uploads, say, signal) {
  let upload = await begun(file, uploads), at = upload.received, tries = 0;
  while (at < file.size) {
    if (signal.aborted) throw new DOMException("Stopped.", "AbortError");
    try {
      await piece(upload.bytes_url, file.slice(at, at + PIECE), at, (sent) => say(Math.min(sent, file.size)), signal);
      at = Math.min(at + PIECE, file.size); tries = 0;
    } catch (error) {
      const mayRetry = !(error instanceof Refused) || error.status === 409 || error.status >= 500;
      if (error.name === "AbortError" || !mayRetry || tries >= PATIENCE.length) throw error;
      say(at, `The connection broke; trying again in ${PATIENCE[tries] / 1000} s.`);
      await rest(PATIENCE[tries++]);
      try { at = (await (await ask(`${uploads}/${upload.id}`)).json()).received; } catch (again) { if (again instanceof Refused) throw again; }
    }
    say(at);
  }
  if (file.size === 0) await ask(upload.bytes_url, { method: "PATCH", headers: { "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0" }, body: new Blob([]) });
  localStorage.removeItem(memory(file));
  return upload.id;
}

const megabytes = (n) => (n >= 1e9 ? `${(n / 1e9).toFixed(2)} GB` : n >= 1e6 ? `${(n / 1e6).toFixed(1)} MB` : `${Math.ceil(n / 1e3)} kB`);

for (const form of document.querySelectorAll("[data-upload]")) {
  const input = form.querySelector("input[type=file]"), box = form.querySelector("[data-upload-progress]");
  const words = box.querySelector("[data-words]"), bar = box.querySelector("rect"), stop = box.querySelector("[data-stop]");
  const button = form.querySelector("button[type=submit]");
  let stopping = new AbortController();

  // Dropping files onto the field is the field's own doing; it only shows that it may be done.
  const drop = form.querySelector("[data-drop]");
  for (const name of ["dragover", "dragleave", "drop"]) drop?.addEventListener(name, (event) => { if (name === "dragover") event.preventDefault(); drop.toggleAttribute("data-over", name === "dragover"); });
  drop?.addEventListener("drop", (event) => { event.preventDefault(); if (event.dataTransfer.files.length) { input.files = event.dataTransfer.files; input.dispatchEvent(new Event("change", { bubbles: true })); } });
  input.addEventListener("change", () => { if (input.files.length) form.requestSubmit(); });
  stop?.addEventListener("click", () => stopping.abort());

  form.addEventListener("submit", async (event) => {
    const files = [...input.files];
    if (!files.length) return;
    event.preventDefault();
    stopping = new AbortController();
    const whole = files.reduce((sum, f) => sum + f.size, 0) || 1, began = Date.now(), next = new URL(form.dataset.next, location.href);
    let before = 0;
    box.hidden = false; box.dataset.state = "running"; button.disabled = true; input.disabled = true;
    const show = (sent, text) => {
      const all = before + sent, speed = all / Math.max((Date.now() - began) / 1000, 0.5), left = (whole - all) / Math.max(speed, 1);
      bar.setAttribute("width", `${(100 * all) / whole}%`);
      words.textContent = text ?? `${megabytes(all)} of ${megabytes(whole)}${left > 2 ? `, about ${left > 90 ? `${Math.ceil(left / 60)} min` : `${Math.ceil(left)} s`} left` : ""}`;
    };
    try {
      for (const file of files) {
        show(0);
        next.searchParams.append("upload", await send(file, form.dataset.uploads, show, stopping.signal));
        next.searchParams.append("path", files.length > 1 ? file.webkitRelativePath || file.name : ""); // alone, an archive keeps its own paths
        before += file.size;
      }
      words.textContent = "All bytes are here. Reading what the files say about themselves.";
      location.assign(next);
    } catch (error) {
      box.dataset.state = error.name === "AbortError" ? "paused" : "failed";
      words.textContent = error.name === "AbortError" ? "Stopped. Choose the same file again to go on where it stopped." : error.message;
      button.disabled = false; input.disabled = false; input.value = "";
    }
  });
}
