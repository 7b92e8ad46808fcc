// SPDX-License-Identifier: Apache-2.0
"use strict";

// Texts of models and attackers are only ever set as text: nothing here makes
// markup of a string.

const $ = (id) => document.getElementById(id);

// make makes an element of a class with what is in it.
function make(name, className, ...inside) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...inside.filter((part) => part !== null && part !== undefined && part !== ""));
  return element;
}

document.documentElement.classList.add("scripted");
$("examples").hidden = false;
for (const button of $("examples").children) {
  button.addEventListener("click", () => {
    $("prompt").value = button.dataset.prompt;
    $("prompt").focus();
  });
}

// offerFormats leaves the formats to choose from that both routes take.
function offerFormats() {
  const speaks = [$("route"), $("beside")].map((select) => select.selectedOptions[0])
    .filter((option) => option && option.value).map((option) => option.dataset.speaks.trim().split(" "));
  for (const option of $("format").options) {
    option.disabled = !speaks.every((names) => names.includes(option.value));
  }
  if ($("format").selectedOptions[0]?.disabled) {
    const first = [...$("format").options].find((option) => !option.disabled);
    if (first) $("format").value = first.value;
  }
}
$("route").addEventListener("change", offerFormats);
$("beside").addEventListener("change", offerFormats);
offerFormats();

// exchange is an exchange, as the template of the same name has it.
function exchange(x) {
  const head = make("h3", "", make("span", "badge " + x.tone, String(x.status)), " ", make("code", "", x.method + " " + x.path), " ");
  if (x.transport) head.append(make("span", "badge quiet", x.transport), " ");
  head.append(make("span", "time", x.time + ", " + x.took));
  const list = make("ol");
  for (const m of x.moments ?? []) {
    const title = make("p", "title", make("strong", "", m.title), " ");
    if (m.verdict) title.append(make("span", "badge " + m.tone, m.verdict), " ");
    title.append(make("span", "detail", m.detail), " ", make("span", "time", m.took));
    const item = make("li", m.kind, title);
    for (const s of m.scans ?? []) item.append(scan(s));
    list.append(item);
  }
  const all = make("details", "exchange", make("summary", "", head), list);
  all.open = true;
  const article = make("article", "", all);
  article.id = "x-" + x.id;
  return article;
}

function scan(s) {
  const all = make("div", "scan");
  if (s.head) all.append(make("p", "head", s.head));
  for (const t of s.said ?? []) all.append(make("p", "said", make("span", "who", t.who), " ", make("span", "text", t.text)));
  if (s.answer) all.append(make("p", "said service", make("span", "who", "service"), " ", make("span", "text", s.answer)));
  if (s.raw) {
    const body = make("pre", "", s.raw);
    body.tabIndex = 0;
    all.append(make("details", "", make("summary", "", "body"), body));
  }
  return all;
}

const mostShown = 40;

// showExchanges adds exchanges, the newest first, or renews those that are
// there.
function showExchanges(all) {
  const list = $("exchanges");
  for (const x of [...all].reverse()) {
    const fresh = exchange(x);
    const old = $(fresh.id);
    if (old) {
      const open = [...old.querySelectorAll("details")].map((d) => d.open);
      fresh.querySelectorAll("details").forEach((d, i) => { d.open = Boolean(open[i]); });
      old.replaceWith(fresh);
    } else {
      list.prepend(fresh);
    }
  }
  if (all.length) list.querySelector(".empty")?.remove();
  while (list.children.length > mostShown) list.lastElementChild.remove();
}

let number = Number(document.body.dataset.number);
let renewing = null;
let next = null;

// renew asks what has changed. Asked again meanwhile, however often, it asks once
// more.
function renew() {
  if (renewing) {
    next ??= renewing.then(() => {
      next = null;
      return renew();
    });
    return next;
  }
  renewing = askState().catch(() => {}).then(() => { renewing = null; }); // the sandbox has ended, or will be back
  return renewing;
}

async function askState() {
  const answer = await fetch("/state?since=" + number);
  if (!answer.ok) return;
  const state = await answer.json();
  if (state.number < number) { // the sandbox was started again
    location.reload();
    return;
  }
  number = state.number;
  showExchanges(state.exchanges ?? []);
  for (const s of state.settings ?? []) showSetting(s);
  const rows = $("meters").tBodies[0].rows;
  (state.meters ?? []).forEach((m, i) => {
    (m.values ?? []).forEach((value, j) => {
      const cell = rows[i]?.cells[j + 1];
      if (cell && cell.textContent !== value) cell.textContent = value;
    });
  });
}

function showSetting(s) {
  const select = $("s-" + s.Name);
  if (!select || select.dataset.turning) return;
  if (![...select.options].some((option) => option.value === s.Now)) select.append(new Option(s.Now, s.Now));
  if (select.value !== s.Now && document.activeElement !== select) select.value = s.Now;
  select.classList.toggle("on", s.Now !== "");
}

for (const form of $("switches").children) {
  const select = form.elements.to;
  form.addEventListener("submit", (event) => event.preventDefault());
  // Arrow keys go through the choices on the way to one, and to have a service
  // used again takes a while: what is chosen last is what is turned last.
  select.addEventListener("change", async () => {
    if (select.dataset.turning) return;
    select.dataset.turning = "yes";
    let said = "";
    for (let turned = null; turned !== select.value && !said;) {
      turned = select.value;
      $("turning").textContent = turned ? "" : "Waiting until the plugin uses it again.";
      try {
        const body = new URLSearchParams(new FormData(form));
        const answer = await fetch("/set", { method: "POST", headers: { Accept: "application/json" }, body });
        if (!answer.ok) said = await answer.text();
      } catch {
        said = "The sandbox does not answer.";
      }
    }
    delete select.dataset.turning;
    select.classList.toggle("on", select.value !== "");
    $("turning").textContent = said;
    renew();
  });
}

const ms = (n) => (n < 100 ? n.toFixed(1) : n.toFixed(0)) + " ms";

// A lane is one answer as it comes.
function lane(path, scale) {
  const status = make("span", "badge quiet", "...");
  const words = make("p", "words");
  const track = make("div", "track");
  track.setAttribute("aria-hidden", "true");
  const times = make("p", "times");
  const element = make("div", "lane busy", make("h3", "", status, " ", make("code", "", path)), words, track, times);
  const ticks = [];
  let first = null;
  const tick = (at, className) => {
    const mark = make("i", className);
    ticks.push({ mark, at });
    track.append(mark);
    scale.max = Math.max(scale.max, at);
    for (const place of scale.lanes) place();
  };
  scale.lanes.push(() => { for (const t of ticks) t.mark.style.left = (scale.max ? 98 * t.at / scale.max : 0) + "%"; });
  const hear = (event) => {
    switch (event.kind) {
      case "note":
        element.append(make("p", "note", event.text));
        break;
      case "head":
        status.textContent = event.status;
        status.className = "badge " + (event.status < 400 ? "good" : "bad");
        break;
      case "text":
        words.append(event.text);
        tick(event.ms, "");
        first ??= event.ms;
        times.textContent = "first word after " + ms(first);
        break;
      case "end":
        element.classList.remove("busy");
        if (event.text) {
          if (words.textContent) words.append("\n");
          words.append(make("strong", "", event.text));
          words.classList.add("failed");
        }
        if (event.ms) tick(event.ms, "end");
        times.textContent = (first === null ? "" : "first word after " + ms(first) + ", ") + "end after " + ms(event.ms);
        break;
    }
  };
  return { element, hear };
}

// lines calls back with each line of JSON of an answer as it comes.
async function lines(answer, hear) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const all = (rest + value).split("\n");
    rest = all.pop();
    for (const line of all) if (line) hear(JSON.parse(line));
  }
}

async function ask(path, fields, to) {
  try {
    const body = new URLSearchParams(fields);
    body.delete("beside");
    body.set("route", path);
    const answer = await fetch("/ask", { method: "POST", body });
    if (!answer.ok) {
      to.hear({ kind: "end", text: await answer.text(), ms: 0 });
      return;
    }
    await lines(answer, to.hear);
  } catch {
    to.hear({ kind: "end", text: "The sandbox does not answer.", ms: 0 });
  }
}

$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  if ($("send").disabled) return; // by Ctrl-Enter, while it still answers
  const fields = new FormData($("ask"));
  const paths = [fields.get("route"), fields.get("beside")].filter((path) => path);
  $("wrong").textContent = "";
  $("over").textContent = "";
  $("send").disabled = true;
  $("live").hidden = false;
  const scale = { max: 0, lanes: [] };
  const all = paths.map((path) => lane(path, scale));
  $("lanes").replaceChildren(...all.map((one) => one.element));
  if (matchMedia("(max-width: 52rem)").matches) $("live").scrollIntoView();
  await Promise.all(all.map((one, i) => ask(paths[i], fields, one)));
  await renew();
  $("send").disabled = false;
  $("over").textContent = "The answers are complete.";
});

// A prompt goes with Ctrl-Enter, too.
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("ask").requestSubmit();
});

setInterval(() => { if (!document.hidden) renew(); }, 2000);
