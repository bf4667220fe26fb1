// What a page does beyond its markup: theme, copying, toasts, the palette, live parts, tries and uploads.
// No page needs this file to be read or used. No inline scripts anywhere: the content policy forbids them.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const cookie = (name) => document.cookie.split("; ").find((c) => c.startsWith(`${name}=`))?.slice(name.length + 1) ?? "";
// The cookie is read at each request: signing in changes it.
const csrf = () => $("input[name=csrfmiddlewaretoken]")?.value ?? cookie("csrftoken");

// ---------- theme: the server prints it into <html>, so nothing flashes ----------
const darkNow = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-theme-form]")) return;
  event.preventDefault();
  const theme = darkNow() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=lax`;
});

// ---------- copying, dismissing, asking before ----------
document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy], [data-copy-from]");
  if (copy) {
    const text = copy.dataset.copy ?? $(copy.dataset.copyFrom)?.textContent ?? "";
    try { await navigator.clipboard.writeText(text.trim()); toast("passed", "Copied.", "", 2000); }
    catch { toast("failed", "The browser did not allow copying.", "Mark the text and copy it by hand."); }
  }
  event.target.closest("[data-dismiss]")?.closest(".toast")?.remove();
  const opener = event.target.closest("[data-dialog]");
  if (opener) { event.preventDefault(); document.getElementById(opener.dataset.dialog)?.showModal(); }
  event.target.closest("[data-dialog-close]")?.closest("dialog")?.close();
});

function toast(state, sentence, more = "", forMs = state === "passed" ? 8000 : 0) {
  const node = document.createElement("div");
  node.className = "toast"; node.dataset.state = state; node.setAttribute("role", state === "failed" ? "alert" : "status");
  const icon = document.createElement("i"); icon.className = "state-icon"; icon.dataset.state = state; icon.ariaHidden = "true";
  const words = document.createElement("div");
  for (const line of [sentence, more]) if (line) words.append(Object.assign(document.createElement("p"), { textContent: line }));
  const shut = Object.assign(document.createElement("button"), { className: "button", type: "button", ariaLabel: "Dismiss" });
  shut.dataset.kind = "quiet"; shut.dataset.size = "small"; shut.dataset.iconOnly = ""; shut.dataset.dismiss = "";
  const cross = document.createElement("i"); cross.className = "icon"; cross.dataset.icon = "cross"; shut.append(cross);
  node.append(icon, words, shut);
  $("#toasts").append(node);
  if (forMs) setTimeout(() => node.remove(), forMs);
}
// What went well goes by itself; what did not stays until it is read.
for (const node of $$(".toast[data-passing]")) setTimeout(() => node.remove(), 8000);

// ---------- the palette: Ctrl K ----------
const palette = $("#palette");
function openPalette() { palette.showModal(); const box = $("input", palette); box.select(); htmx.trigger(box, "palette"); }
document.addEventListener("click", (event) => {
  if (palette && event.target.closest("[data-palette-open]")) { event.preventDefault(); openPalette(); }
  else if (event.target === palette) palette.close();
});
document.addEventListener("keydown", (event) => {
  if (!palette) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") { event.preventDefault(); openPalette(); return; }
  if (!palette.open) return;
  const items = $$(".palette-item", palette), at = items.findIndex((i) => i.ariaSelected === "true");
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    const next = items[(at + (event.key === "ArrowDown" ? 1 : -1) + items.length) % items.length];
    items.forEach((i) => (i.ariaSelected = String(i === next)));
    next?.scrollIntoView({ block: "nearest" });
  } else if (event.key === "Enter" && at >= 0) { event.preventDefault(); items[at].click(); }
});

// ---------- lists by keyboard: j and k go down and up, Enter follows the link as ever ----------
document.addEventListener("keydown", (event) => {
  const list = $("[data-keys]");
  if (!list || !["j", "k"].includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, dialog, [popover]")) return;
  const items = $$("[data-key]", list), at = items.indexOf(document.activeElement);
  const next = items[event.key === "j" ? Math.min(at + 1, items.length - 1) : Math.max(at - 1, 0)];
  if (next) { event.preventDefault(); next.focus(); next.scrollIntoView({ block: "nearest" }); }
});

// ---------- printing: the button is there only where it can do something ----------
for (const node of $$("[data-print]:is(button)")) node.hidden = false;
document.addEventListener("click", (event) => { if (event.target.closest("button[data-print]")) print(); });

// ---------- live parts: one stream per page; an event says what to look at again, never what it now is ----------
// <section data-live="build/3f9k2m" data-hints="state log" hx-get="?part=steps" hx-trigger="refetch" hx-swap="outerHTML">
const topics = document.body.dataset.topics;
const live = $("#live");
let changedAt = Date.now(), heardAt = Date.now(), lostAt = 0;

function sayLive() {
  if (!live) return;
  const since = lostAt && Date.now() - lostAt > 4000 ? lostAt : Date.now() - heardAt > 40000 ? heardAt : 0; // the server beats every 15 s
  const unchanged = Math.floor((Date.now() - changedAt) / 60000);
  live.dataset.state = since ? "stale" : "live";
  live.textContent = since ? `Not updating since ${new Date(since).toLocaleTimeString("en-GB")}` : unchanged ? `Live, unchanged for ${unchanged} min` : "Live";
}
const hear = () => { heardAt = Date.now(); lostAt = 0; };
const lose = () => { lostAt ||= Date.now(); sayLive(); };

// A form that somebody is filling in is left alone; its act checks everything again anyway.
const isWrittenIn = (node) => node.querySelector("details.fold[open] textarea") || (node.contains(document.activeElement) && node.querySelector("form"));
let openedIds = []; // what was unfolded stays unfolded
document.addEventListener("htmx:beforeSwap", (event) => {
  const node = event.detail.target;
  if (!node.matches?.("[data-live]")) return;
  if (event.detail.requestConfig?.triggeringEvent?.type === "refetch" && isWrittenIn(node)) { event.detail.shouldSwap = false; askedAt.delete(node); } // it was asked for before the writing began
  openedIds = [...node.querySelectorAll("details[id][open]")].map((each) => each.id);
});
document.addEventListener("htmx:afterSettle", () => { for (const id of openedIds.splice(0)) document.getElementById(id)?.setAttribute("open", ""); });

// A part is old when something that it names has changed since it was asked for. This is looked at again and again
// instead of once per event: a change that is heard while a part is on its way, or written in, is not lost.
const heardOf = new Map(); // "topic hint" -> when it was last heard
let everythingAt = 0;
const madeAt = Date.now();
const askedAt = new WeakMap(); // part -> when what it shows was asked for; one that is not here came with the page
const onTheirWay = new WeakSet();
function isOld(node) {
  const since = askedAt.get(node) ?? madeAt;
  if (everythingAt >= since) return true;
  const named = node.dataset.live.split(" "), hints = node.dataset.hints?.split(" ");
  for (const [change, at] of heardOf) {
    const [topic, hint] = change.split(" ");
    if (at >= since && (named.includes(topic) || named.includes(`${topic.split("/")[0]}/*`)) && (!hints || hints.includes(hint))) return true;
  }
  return false;
}
// Some parts age by themselves (a live chart); they say how often they want to be looked at, in seconds.
const hasAged = (node) => node.dataset.every && !document.hidden && Date.now() - (askedAt.get(node) ?? madeAt) >= node.dataset.every * 1000;
function fetchTheOld() {
  for (const node of $$("[data-live], [data-every]")) {
    if (onTheirWay.has(node) || isWrittenIn(node)) continue;
    if ((node.dataset.live && isOld(node)) || hasAged(node)) htmx.trigger(node, "refetch");
  }
}
document.addEventListener("htmx:beforeRequest", (event) => {
  event.detail.requestConfig.askedAt = Date.now();
  onTheirWay.add(event.detail.elt); askedAt.set(event.detail.elt, Date.now());
});
document.addEventListener("htmx:afterRequest", (event) => { onTheirWay.delete(event.detail.elt); lookSoon(); });
document.addEventListener("htmx:afterSwap", (event) => {
  const at = event.detail.requestConfig?.askedAt, part = event.detail.elt;
  if (at) for (const node of [part, ...$$("[data-live], [data-every]", part)]) askedAt.set(node, at);
});
setInterval(fetchTheOld, 1000);
let soon = 0;
function lookSoon() { soon ||= setTimeout(() => { soon = 0; fetchTheOld(); }, 150); } // several changes in a moment are one look
function changed(topic, hint) {
  if (topic) heardOf.set(`${topic} ${hint || "state"}`, Date.now()); else everythingAt = Date.now();
  lookSoon();
}

if (topics) {
  const stream = new EventSource(`/live?topics=${encodeURIComponent(topics)}`);
  // hello: something may have changed since the page was made. reset: the listener was away.
  for (const again of ["hello", "reset"]) stream.addEventListener(again, () => { hear(); changed(); sayLive(); });
  stream.addEventListener("beat", hear);
  stream.addEventListener("lost", lose);
  stream.addEventListener("error", lose);
  stream.addEventListener("change", (event) => {
    hear(); changedAt = Date.now();
    const { topic, hint } = JSON.parse(event.data);
    changed(topic, hint);
    sayLive();
  });
  setInterval(sayLive, 1000);
}
document.addEventListener("htmx:configRequest", (event) => { if (event.detail.verb !== "get") event.detail.headers["X-CSRFToken"] = csrf(); });
// An error answers with a notice and says where it belongs; htmx would drop it.
document.addEventListener("htmx:beforeSwap", (event) => { if (event.detail.xhr.getResponseHeader("HX-Retarget")) event.detail.shouldSwap = true; });
document.addEventListener("htmx:responseError", (event) => {
  // A part that could not be fetched again keeps what it shows; the top bar says that it is old.
  if (event.detail.xhr.status >= 500) lose();
});
// A log stays at its end while its reader is there, and stays put while they read above.
const nearEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
const pinned = new WeakMap();
document.addEventListener("htmx:beforeSwap", () => { for (const log of $$("[data-follow]")) pinned.set(log, nearEnd(log)); });
document.addEventListener("htmx:afterSettle", () => { for (const log of $$("[data-follow]")) if (pinned.get(log)) log.scrollTop = log.scrollHeight; });
for (const log of $$("[data-follow]")) log.scrollTop = log.scrollHeight;

// ---------- forms: one press is one act; a choice may narrow another ----------
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.matches("[data-upload]")) return;
  const button = event.submitter;
  if (button?.matches(".button")) setTimeout(() => { button.ariaBusy = "true"; }, 0);
});
addEventListener("pageshow", () => { for (const b of $$('.button[aria-busy="true"]')) b.removeAttribute("aria-busy"); });
document.addEventListener("change", (event) => { if (event.target.matches("[data-submit-on-change]")) event.target.form.requestSubmit(); });
