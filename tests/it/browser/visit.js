// What a person does in the dashboard, in a real browser: one step after another, each with what must be seen.
//
// The variable BROWSER_WANTED says where the host is, what to look for, and where the pictures go. Whatever is wrong is
// written to standard error, and the exit code is 1.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");

const wanted = JSON.parse(process.env.BROWSER_WANTED);
const tokens = { own: process.env.BROWSER_TOKEN, other: process.env.BROWSER_OTHER_TOKEN };

const { chromium } = require(path.join(wanted.modules, "playwright-core"));
const axe = require(path.join(wanted.modules, "axe-core"));

const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };

// Longest wait for what is to be seen, of a host that is not optimised, in milliseconds.
const PATIENCE_MS = 30_000;

// Longest wait for the run that is watched.
const RUN_MS = 300_000;

const problems = [];

// A page whose errors, and whose requests to elsewhere, are problems.
const open = async (browser, options) => {
  const context = await browser.newContext({ baseURL: wanted.base, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  page.on("pageerror", (error) => problems.push(`${page.url()}: ${error.message}`));
  page.on("console", (message) => {
    // That a page is refused stands there too; only assets must never be.
    const isRefusal = /^Failed to load resource/.test(message.text()) && !message.location().url.includes("/assets/");
    if (message.type() === "error" && !isRefusal) {
      problems.push(`${page.url()}: ${message.text()}`);
    }
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(wanted.base)) {
      problems.push(`${page.url()} asks for ${request.url()}`);
    }
  });
  return page;
};

const logIn = async (page, token) => {
  await page.goto("/login");
  await page.getByLabel("Token", { exact: true }).fill(token);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
};

const follow = async (page, name) => {
  await page.getByRole("main").getByRole("link", { name, exact: true }).first().click();
};

// Asks again and again. A wait inside the page would evaluate a text, which no page of the dashboard allows.
const until = async (what, isSo) => {
  for (const end = Date.now() + RUN_MS; Date.now() < end;) {
    if (await isSo()) {
      return;
    }
    await new Promise((resolve) => { setTimeout(resolve, 250); });
  }
  throw new Error(`not within ${RUN_MS} ms: ${what}`);
};

const says = async (page, text) => {
  const body = await page.locator("body").innerText();
  assert.ok(body.includes(text), `${page.url()} does not say '${text}':\n${body}`);
};

// What keeps people out. Chart and table are looked at as they are: no script of the page is changed for it.
const accessible = async (page, name) => {
  await page.evaluate(axe.source);
  const found = await page.evaluate(async () => {
    const result = await window.axe.run(document, { resultTypes: ["violations"] });
    return result.violations.map(({ id, impact, help, nodes }) => ({
      id,
      impact,
      help,
      nodes: nodes.slice(0, 5).map((node) => `${node.html.slice(0, 200)}: ${node.failureSummary}`),
    }));
  });
  for (const { id, impact, help, nodes } of found) {
    const told = `${name}: ${impact} ${id}: ${help}\n  ${nodes.join("\n  ")}`;
    if (impact === "serious" || impact === "critical") {
      problems.push(told);
    } else {
      console.log(told);
    }
  }
};

// Nothing is beside the screen but what its own region scrolls.
const fits = async (page, name) => {
  const [inside, outside] = await page.evaluate(() => {
    const root = document.documentElement;
    return [root.scrollWidth, root.clientWidth];
  });
  if (inside > outside) {
    problems.push(`${name} is ${inside} wide on a screen of ${outside}`);
  }
};

const picture = (page, name) => page.screenshot({ path: path.join(wanted.shown, `${name}.png`), fullPage: true });

// The pages that the menu leads to, and those that a person reaches from them.
const pages = async (page) => {
  await page.goto("/");
  const menu = await page.getByRole("navigation", { name: "Pages" }).getByRole("link").evaluateAll((links) =>
    links.map((link) => [link.textContent, link.getAttribute("href")]));
  assert.ok(menu.length >= 15, `${menu.length} pages`);
  const linked = async (from, pattern) => {
    await page.goto(from);
    const paths = await page.getByRole("main").getByRole("link").evaluateAll((links) =>
      links.map((link) => link.getAttribute("href")));
    const found = paths.find((one) => pattern.test(one));
    assert.ok(found, `${from} has no link like ${pattern}`);
    return found;
  };
  const youtube = await accountOf(page);
  return [
    ...menu,
    ["Artist", `/artists/${wanted.artist}?account=${youtube}`],
    ["Run", await linked("/runs", /^\/runs\/[0-9a-f-]{36}$/)],
    ["Release", await linked("/connectors", /^\/connectors\/[0-9a-f]{64}$/)],
    ["Account timeline", `/accounts/${youtube}/timeline`],
    ["Roll back", "/platforms/youtube/rollback"],
    ["Revoke", await linked("/tokens", /^\/tokens\/[0-9a-f-]{36}\/revoke$/)],
    ["Bulk act", await linked("/quality", /^\/bulk\/new/)],
    ["Not found", "/artists/00000000-0000-0000-0000-000000000000"],
  ];
};

// The id of the artist's account on YouTube, as its page tells it.
const accountOf = async (page) => {
  await page.goto(`/artists/${wanted.artist}`);
  const row = page.getByRole("row").filter({ hasText: "youtube" }).first();
  const link = await row.getByRole("link", { name: "What happened" }).getAttribute("href");
  return link.split("/")[2];
};

const look = async (browser) => {
  for (const theme of ["light", "dark"]) {
    for (const [size, viewport] of [["desktop", DESKTOP], ["phone", PHONE]]) {
      const page = await open(browser, { viewport, colorScheme: theme });
      await page.goto("/login");
      await accessible(page, `login, ${theme}, ${size}`);
      await fits(page, `login, ${theme}, ${size}`);
      await picture(page, `login-${theme}-${size}`);
      await logIn(page, tokens.own);
      for (const [title, at] of await pages(page)) {
        const name = `${title.toLowerCase().replaceAll(" ", "-")}-${theme}-${size}`;
        const { [title]: expected = 200 } = { "Not found": 404 };
        const answer = await page.goto(at);
        assert.equal(answer.status(), expected, at);
        await page.getByRole("heading", { level: 1 }).waitFor();
        await accessible(page, name);
        await fits(page, name);
        await picture(page, name);
      }
      await page.context().close();
    }
  }
};

const steps = {
  "a wrong token is refused in words": async (page) => {
    await page.goto("/login");
    await page.getByLabel("Token", { exact: true }).fill("wrong");
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("alert").waitFor();
    await says(page, "no token in force was given");
  },
  "the keyboard alone is enough to log in": async (page) => {
    await page.goto("/login");
    await page.keyboard.type(tokens.own);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
    await page.keyboard.press("Tab");
    const skip = await page.evaluate(() => document.activeElement.textContent);
    assert.equal(skip, "Skip to the content");
  },
  "an artist is shown with its gap and its break": async (page) => {
    const account = await accountOf(page);
    await page.goto(`/artists/${wanted.artist}?account=${account}&metric=followers`);
    const chart = page.locator("[data-chart]");
    await chart.locator("canvas").waitFor();
    const data = JSON.parse(await chart.getAttribute("data-chart"));
    assert.ok(data.y.includes(null), `no gap: ${JSON.stringify(data)}`);
    assert.equal(data.breaks.length, 1, JSON.stringify(data));
    const isDrawn = await chart.locator("canvas").evaluate((canvas) => {
      const { data: pixels } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return pixels.some((value) => value > 0);
    });
    assert.ok(isDrawn, "nothing is drawn");
    await says(page, "nothing was collected");
    await says(page, `counted differently from this day on: ${wanted.break_note}`);
  },
  "a run is watched while it goes on": async (page) => {
    await page.goto("/runs");
    const asked = [];
    page.on("request", (request) => {
      if (request.headers()["hx-request"]) {
        asked.push(request.url());
      }
    });
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.waitForURL(/\/runs\/[0-9a-f-]{36}$/);
    const state = page.locator("#live dt", { hasText: /^State$/ }).locator("xpath=following-sibling::dd[1]");
    assert.equal(await state.innerText(), "running", "it ended before it could be watched");
    await page.evaluate(() => { window.sameDocument = true; });
    await until("the run ends", async () => await state.innerText() !== "running");
    assert.ok(asked.length > 0, "nothing was asked for meanwhile");
    assert.equal(await page.evaluate(() => window.sameDocument), true, "the page was loaded again");
    const shown = await state.innerText();
    assert.ok(["success", "partial_failure"].includes(shown), shown);
    await picture(page, "watched-run");
  },
  "a release is rolled back": async (page) => {
    await page.goto("/connectors");
    await follow(page, "youtube 1.1.0");
    await follow(page, "Roll back to the release before");
    await page.getByRole("heading", { level: 1, name: "Roll back youtube 1.1.0?" }).waitFor();
    await page.getByRole("textbox", { name: "Reason, kept with the release" }).fill("subscribers are wrong");
    await page.getByRole("button", { name: "Roll back" }).click();
    await page.getByRole("status").waitFor();
    await page.goto("/connectors");
    const before = page.getByRole("row").filter({ hasText: "youtube 1.0.0" }).first();
    assert.match(await before.innerText(), /active/);
    await says(page, "subscribers are wrong");
  },
  "a value that failed validation is released": async (page) => {
    await page.goto("/quality");
    const buttons = page.getByRole("button", { name: /^Release / });
    const count = await buttons.count();
    assert.ok(count > 0, "no value is held");
    await buttons.first().click();
    await page.getByRole("status").waitFor();
    assert.equal(await buttons.count(), count - 1);
    await page.goto("/quality?status=released");
    assert.equal(await page.getByRole("row").filter({ hasText: "released" }).count(), 1);
  },
  "a token is revoked, and who has it is out": async (page, browser) => {
    const theirs = await open(browser, { viewport: PHONE });
    await logIn(theirs, tokens.other);
    await page.goto("/tokens");
    const row = page.getByRole("row").filter({ hasText: wanted.other_name });
    await row.getByRole("link", { name: "Revoke" }).click();
    await page.getByRole("button", { name: "Revoke" }).click();
    await page.getByRole("status").waitFor();
    await theirs.goto("/runs");
    await theirs.waitForURL(/\/login$/);
    await theirs.context().close();
  },
  "what was done is on record": async (page) => {
    await page.goto("/audit");
    for (const action of ["run", "plugins rollback", "quarantine release", "tokens revoke"]) {
      assert.ok(await page.getByRole("cell", { name: action, exact: true }).count() > 0, action);
    }
  },
  "who logs out is out": async (page) => {
    await page.getByRole("button", { name: "Log out" }).click();
    await page.waitForURL(/\/login$/);
    await page.goto("/");
    await page.waitForURL(/\/login$/);
  },
};

const main = async () => {
  const browser = await chromium.launch({ executablePath: programOf(wanted.chromium) });
  try {
    await look(browser);
    const page = await open(browser, { viewport: DESKTOP });
    for (const [name, step] of Object.entries(steps)) {
      try {
        await step(page, browser);
        console.log(`done: ${name}`);
      } catch (error) {
        await picture(page, `failed-${name.replaceAll(/[^a-z]+/g, "-")}`);
        throw new Error(`${name}: ${error.stack}`);
      }
    }
  } finally {
    await browser.close();
  }
};

// The path of a program that may be a name.
const programOf = (program) => {
  if (program.includes(path.sep)) {
    return program;
  }
  const found = process.env.PATH.split(path.delimiter).map((folder) => path.join(folder, program));
  return found.find((file) => fs.existsSync(file)) ?? program;
};

main().catch((error) => problems.push(error.stack)).then(() => {
  problems.forEach((problem) => console.error(problem));
  process.exitCode = problems.length > 0 ? 1 : 0;
});
