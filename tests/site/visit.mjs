// Visits the pages of a site in a browser, and prints what it found on each as JSON:
// node visit.mjs PLAYWRIGHT BROWSER URL PAGE...
//
// It uses the keyboard and paper only on the pages of the workshop. The frame of the other pages is the same.
const USED = /^workshop\/([^/]+\/)?(index|teaching)\.html$/;
const [playwright, executablePath, site, ...pages] = process.argv.slice(2);
const { chromium } = await import(playwright);
const browser = await chromium.launch({ executablePath });
const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
const reports = {};
await Promise.all(Array.from({ length: 5 }, visitRemaining));
await browser.close();
console.log(JSON.stringify(reports));

async function visitRemaining() {
  for (let name = pages.pop(); name; name = pages.pop()) {
    const page = await context.newPage();
    reports[name] = await visit(page, name);
    await page.close();
  }
}

async function visit(page, name) {
  const errors = [];
  const requests = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("request", (request) => requests.push(request.url()));
  page.on("requestfailed", (request) => errors.push(`failed: ${request.url()}`));
  page.on("response", (response) => response.ok() || errors.push(`${response.status()}: ${response.url()}`));
  await page.goto(new URL(name, site).href, { waitUntil: "networkidle" });
  const report = { errors, requests, ...(await page.evaluate(read)) };
  if (USED.test(name)) {
    report.folded = await unfold(page);
    report.unreached = await unreached(page);
    report.misprinted = await print(page);
  }
  return report;
}

// Returns the parts of a page.
function read() {
  const all = (selector) => [...document.querySelectorAll(selector)];
  return {
    links: all("a[href]").map((link) => link.href),
    anchors: all("[id]").map((element) => element.id),
    headings: all("h1").map((heading) => heading.textContent),
    undescribed: all("img:not([alt]), img[alt='']").map((image) => image.src),
    isWide: document.documentElement.scrollWidth > window.innerWidth,
  };
}

// Opens the folded parts with the keyboard, and returns those that stayed closed.
async function unfold(page) {
  for (const summary of await page.locator("summary").all()) {
    await summary.press("Enter");
  }
  return page.locator("details:not([open]) > summary").allTextContents();
}

// Returns the visible links, buttons and fields that do not get the focus when Tab is pressed again and again.
async function unreached(page) {
  const count = await page.evaluate(() => {
    const isVisible = (element) => element.tabIndex >= 0 && element.checkVisibility({ visibilityProperty: true });
    const selector = "a[href], button, input:enabled:not([type=radio]:not(:checked)), summary, [tabindex]";
    const elements = [...document.querySelectorAll(selector)].filter(isVisible);
    window.remaining = new Set(elements);
    document.addEventListener("focusin", (event) => window.remaining.delete(event.target));
    document.activeElement.blur();
    return elements.length;
  });
  // Parts that scroll get the focus too, and so does the page itself.
  for (let presses = 0; presses < 2 * count; presses++) {
    await page.keyboard.press("Tab");
    if (presses % 10 === 0 && (await page.evaluate(() => window.remaining.size === 0))) break;
  }
  return page.evaluate(() => [...window.remaining].filter((it) => it.tabIndex >= 0).map((element) => element.outerHTML.slice(0, 200)));
}

// Returns what is wrong on A4 paper: folded parts, navigation, and code that is cut off.
async function print(page) {
  await page.evaluate(() => document.querySelectorAll("details").forEach((part) => (part.open = false)));
  await page.setViewportSize({ width: 680, height: 1000 });
  await page.emulateMedia({ media: "print" });
  await page.evaluate(() => window.dispatchEvent(new Event("beforeprint")));
  return page.evaluate(() => {
    const isCut = (code) => code.scrollWidth > code.clientWidth;
    const wrong = [
      ...document.querySelectorAll("details:not([open]) > summary"),
      ...[...document.querySelectorAll("nav, header, footer, button")].filter((part) => part.checkVisibility()),
      ...[...document.querySelectorAll("pre > code")].filter(isCut),
    ];
    return wrong.map((element) => element.outerHTML.slice(0, 200));
  });
}
