// Sends the forms of the page "Try it" without leaving it, shows answers piece by piece, copies code, and refreshes
// numbers. Without this file the pages work all the same.
"use strict";

const REFRESH_MS = 5000;

function element(name, text, className) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function problemBox(problem) {
  const box = element("div", "", "problem");
  box.setAttribute("role", "alert");
  box.append(element("p", problem.wrong, "wrong"));
  const list = element("dl");
  for (const [title, text] of [["Expected", problem.expected], ["What to do", problem.advice]]) {
    if (text) list.append(element("dt", title), element("dd", text));
  }
  box.append(list);
  return box;
}

// What the console itself answers with cannot come then.
const UNREACHABLE = {
  wrong: "The console did not answer.",
  expected: "A console that runs.",
  advice: "Look whether mm-client console still runs, load the page again and repeat it.",
};

async function* linesOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

class TryForm {
  constructor(form) {
    this.form = form;
    this.status = document.querySelector(".result .status");
    this.answer = document.querySelector(".result .answer");
    this.stop = form.querySelector(".stop");
    this.history = [];
    this.stop.addEventListener("click", () => this.abort.abort());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send(event.submitter);
    });
  }

  async send(submitter) {
    const data = new FormData(this.form, submitter);
    this.abort = new AbortController();
    this.busy(true);
    try {
      const address = this.form.dataset.stream || this.form.getAttribute("action");
      const options = { method: "POST", body: data, headers: { "X-Requested-With": "console" }, signal: this.abort.signal };
      const response = await fetch(address, options);
      if (!response.ok) {
        this.show(problemBox((await response.json()).problem));
      } else if (!this.form.dataset.stream) {
        this.show(await response.text());
      } else if (this.form.dataset.kind === "chat") {
        await this.converse(data.get("prompt"), response);
      } else {
        await this.follow(response);
      }
      this.status.textContent = this.answer.querySelector(".problem") ? "It did not work." : "Done.";
    } catch (error) {
      if (error.name === "AbortError") this.status.textContent = "Stopped.";
      else this.show(problemBox(UNREACHABLE));
    } finally {
      this.busy(false);
    }
  }

  busy(on) {
    this.form.setAttribute("aria-busy", on);
    this.form.querySelectorAll(".actions button:not(.stop)").forEach((button) => { button.disabled = on; });
    this.stop.hidden = !on;
    if (on) this.status.textContent = "Under way …";
    else if (this.status.textContent === "Under way …") this.status.textContent = "";
  }

  show(content) {
    if (typeof content === "string") this.answer.innerHTML = content;
    else this.answer.replaceChildren(content);
  }

  async follow(response) {
    for await (const line of linesOf(response)) {
      if (line.problem) this.show(problemBox(line.problem));
      else if (line.html) this.show(line.html);
      else this.status.textContent = `${line.frames} frames done …`;
    }
  }

  async converse(prompt, response) {
    if (!this.history.length) this.answer.replaceChildren();
    this.answer.querySelectorAll(".problem").forEach((box) => box.remove());
    const said = element("p", "", "said-by-me");
    said.append(element("span", "You", "who"), element("span", prompt));
    const words = element("span");
    const reply = element("p", "", "said-by-model");
    reply.append(element("span", "Model", "who"), words);
    this.answer.append(said, reply);
    let failed = false;
    for await (const line of linesOf(response)) {
      if (line.problem) {
        failed = true;
        this.answer.append(problemBox(line.problem));
      } else {
        words.textContent += line.text;
      }
    }
    if (failed) return;
    this.history.push([prompt, words.textContent]);
    this.form.elements.history.value = JSON.stringify(this.history);
    this.form.elements.prompt.value = "";
  }
}

function copyButton(button) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = document.getElementById(button.dataset.copies).textContent;
    const label = button.firstChild;
    try {
      await navigator.clipboard.writeText(code);
      label.textContent = "Copied";
    } catch {
      // Browsers refuse it on pages that came without TLS.
      getSelection().selectAllChildren(document.getElementById(button.dataset.copies));
      label.textContent = "Selected: press Ctrl+C";
    }
  });
}

async function refresh(part) {
  // Not under somebody's hands.
  if (document.hidden || part.contains(document.activeElement)) return;
  try {
    const response = await fetch(part.dataset.refresh);
    if (response.ok && !part.contains(document.activeElement)) part.innerHTML = await response.text();
  } catch {
    // The next time will show.
  }
}

document.querySelectorAll("form.try").forEach((form) => new TryForm(form));
document.querySelectorAll("button.copy").forEach(copyButton);
const live = document.getElementById("live");
if (live) setInterval(refresh, REFRESH_MS, live);
