// Uses every call of the official TypeScript SDK that slackwater serves, and prints what came out as JSON.
//
//     SDK=/path/to/node_modules/@anthropic-ai/sdk node sdk.mjs BASE_URL API_KEY [SECTION...]
//
// The twin of sdk.py: same sections, same names. It knows nothing of the tests: it only reports.

import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const home = process.env.SDK;
const { default: Anthropic, toFile } = createRequire(import.meta.url)(home);
const [baseURL, apiKey, ...wanted] = process.argv.slice(2);
const PDF = Buffer.from("%PDF-1.7\r\n%\xff\0\r\n%%EOF\r\n", "latin1");
const WAIT_MS = 30_000;
const client = new Anthropic({ baseURL, apiKey, timeout: WAIT_MS });
const batches = client.messages.batches;
const MODEL = "claude-haiku-4-5-20251001";

const sections = {
  // A batch of which some requests succeed, some fail in various ways; watched until its end.
  async mixed() {
    const batch = await batches.create({ requests: mixedRequests() });
    const read_back = await batches.retrieve(batch.id);
    const [ended, polls] = await wait(batch.id);
    const last = await batches.retrieve(batch.id).withResponse();
    return {
      created: batch,
      read_back,
      retry_after: last.response.headers.get("retry-after"),
      polls,
      ended,
      results: await all(await batches.results(batch.id)),
    };
  },

  // Five more batches, listed two at a time, forwards and backwards.
  async paging() {
    const ids = [];
    for (let made = 0; made < 5; made++) ids.push((await batches.create({ requests: [request("only", "Hi")] })).id);
    const page = await batches.list({ limit: 2 });
    const report = {
      made: ids,
      forwards: (await all(batches.list({ limit: 2 }))).map((item) => item.id),
      newer: (await all(batches.list({ limit: 2, before_id: ids[0] }))).map((item) => item.id),
      older: (await all(batches.list({ limit: 2, after_id: ids[0] }))).map((item) => item.id),
      page: { ids: page.data.map((item) => item.id), has_more: page.has_more, first_id: page.first_id, last_id: page.last_id },
    };
    for (const id of ids) await wait(id);
    return report;
  },

  // A batch that would take an hour is canceled, twice.
  async cancel() {
    const slow = Array.from({ length: 24 }, (_, number) => request(`slow-${number}`, "[[sim:latency=3600]] Think."));
    const batch = await batches.create({ requests: [request("quick", "Hi"), ...slow] });
    const canceling = await batches.cancel(batch.id);
    const again = await batches.cancel(batch.id);
    const [ended] = await wait(batch.id);
    const results = await all(await batches.results(batch.id));
    return { canceling, again, ended, results, late: await attempt(() => batches.cancel(batch.id)) };
  },

  // Deleting works once, and only after the end.
  async delete() {
    const batch = await batches.create({ requests: [request("slow", "[[sim:latency=3600]] Think.")] });
    const running = await batches.retrieve(batch.id).withResponse();
    const early_results = await attempt(() => batches.results(batch.id));
    const early = await attempt(() => batches.delete(batch.id));
    await batches.cancel(batch.id);
    await wait(batch.id);
    return {
      id: batch.id,
      retry_after: running.response.headers.get("retry-after"),
      early_results,
      early,
      deleted: await batches.delete(batch.id),
      twice: await attempt(() => batches.delete(batch.id)),
      gone: await attempt(() => batches.retrieve(batch.id)),
    };
  },

  messages: () => client.messages.create(body("[[sim:text=positive]] Good film.", { system: "One word." })),

  // By the helper, which puts the message together, and by hand.
  async stream() {
    const stream = client.messages.stream(body("[[sim:text=one two three]] Count."));
    let text = "";
    stream.on("text", (part) => (text += part));
    const final = await stream.finalMessage();
    const raw = await client.messages.create(body("[[sim:text=one two three]] Count.", { stream: true }));
    return { text, final, events: (await all(raw)).map((event) => event.type) };
  },

  count: () => client.messages.countTokens({ model: MODEL, messages: [{ role: "user", content: "How many tokens are these?" }] }),

  async models() {
    const listed = await all(client.models.list({ limit: 1 }));
    return {
      listed: listed.map((model) => model.id),
      first: listed[0],
      slashed: await client.models.retrieve("Qwen/Qwen2.5:7b"),
      unknown: await attempt(() => client.models.retrieve("no-such-model")),
    };
  },

  // What the SDK throws for each status, without its retries.
  async errors() {
    const once = { maxRetries: 0 };
    const create = (params, options = {}) => client.messages.create(params, { ...once, ...options });
    const makeBatch = (requests, extra = {}) => batches.create({ requests, ...extra }, once);
    const stranger = new Anthropic({ baseURL, apiKey: "not-a-key", maxRetries: 0, timeout: WAIT_MS });
    const headers = (given) => ({ headers: given });
    const calls = {
      batch_empty: () => makeBatch([]),
      batch_duplicate: () => makeBatch([request("same", "a"), request("same", "b")]),
      batch_long_id: () => makeBatch([request("x".repeat(65), "a")]),
      batch_newline_id: () => makeBatch([request("row-0\n", "a")]),
      batch_extra_key: () => makeBatch([request("a", "a")], { note: "hm" }),
      batch_unknown: () => batches.retrieve("msgbatch_01nosuchbatch", undefined, once),
      batch_both_cursors: () => batches.list({ after_id: "msgbatch_a", before_id: "msgbatch_b" }, once),
      batch_limit: () => batches.list({ limit: 1001 }, once),
      message_no_max_tokens: () => client.post("/v1/messages", { body: { model: MODEL, messages: [] }, ...once }),
      message_extra_key: () => create(body("Hi", { colour: "red" })),
      message_too_large: () => create(body("x".repeat(33 * 2 ** 20))),
      message_unknown_model: () => create(body("Hi", { model: "no-such-model" })),
      wrong_key: () => stranger.messages.batches.retrieve("msgbatch_01nosuchbatch"),
      wrong_version: () => create(body("Hi"), headers({ "anthropic-version": "2023-10-01" })),
      foreign_workspace: () => create(body("Hi"), headers({ "anthropic-workspace-id": "wrkspc_01nosuch" })),
      unknown_path: () => client.get("/v1/nothing", once),
      wrong_method: () => client.post("/v1/models", { body: {}, ...once }),
      backend_400: () => create(body("[[sim:status=400]] Hi")),
      backend_500: () => create(body("[[sim:status=500]] Hi")),
      backend_529: () => create(body("[[sim:status=529]] Hi", { model: "faulty" })),
    };
    const report = {};
    for (const [name, call] of Object.entries(calls)) report[name] = await attempt(call);
    return report;
  },

  // With its ordinary retries the SDK gets over a backend that fails once.
  retries: () => client.messages.create(body(`[[sim:status=529 times=1]] ${process.pid}`, { model: "faulty" })),

  // The same calls in the beta namespace, which adds `?beta=true` and beta headers in some releases.
  async beta() {
    const beta = client.beta.messages.batches;
    const batch = await beta.create({ requests: [request("only", "Hi")], betas: ["message-batches-2024-09-24"] });
    await wait(batch.id);
    const read = await beta.retrieve(batch.id);
    const listed = (await all(beta.list({ limit: 3 }))).map((item) => item.id);
    const results = await all(await beta.results(batch.id));
    return { id: batch.id, read, listed, results, deleted: await beta.delete(batch.id) };
  },

  // Every call about files, in each namespace that this release has.
  async files() {
    const report = { beta: await fileCalls(client.beta.files) };
    if (client.files) report.ga = await fileCalls(client.files);
    return report;
  },
};

// Upload in every way that the SDK takes; list, read and delete what was uploaded.
async function fileCalls(files) {
  const once = { maxRetries: 0 };
  const directory = mkdtempSync(join(tmpdir(), "sdk-"));
  const path = join(directory, "보고서 최종.pdf");
  writeFileSync(path, PDF);
  const uploads = {
    bytes: () => toFile(PDF),
    large: () => toFile(Buffer.alloc(3_000_000)),
    tuple: () => toFile(PDF, "contract.pdf", { type: "application/pdf" }),
    stream: () => createReadStream(path),
    named_stream: () => toFile(createReadStream(path), "contract.pdf", { type: "application/pdf" }),
    unicode: () => new File(["내용\n"], "계약서 ü.txt", { type: "text/plain" }),
    untyped: () => new File(["a,b\n"], "table.csv"),
    quoted: () => new File(["text"], 'say "hi".txt'),
    empty: () => new File([], "empty.txt"),
  };
  const made = {};
  for (const [name, file] of Object.entries(uploads)) made[name] = await attempt(async () => files.upload({ file: await file() }), plain);
  rmSync(directory, { recursive: true });
  const ours = Object.values(made).flatMap((one) => one.id ?? []);
  const ids = async (found) => (await all(found)).map((item) => item.id).filter((id) => ours.includes(id));
  const report = {
    made,
    expiring: await files.upload({ file: await toFile(PDF), expires_in_seconds: 7200 }),
    listed: await ids(files.list({ limit: 2 })),
    read: await files.retrieveMetadata(ours[0]),
    content: await attempt(() => files.download(ours[0], {}, once)),
    too_large: await attempt(async () => files.upload({ file: await toFile(Buffer.alloc(8_000_001)) }, once)),
    limit: await attempt(() => files.list({ limit: 1001 }, once)),
  };
  const page = await files.list({ limit: 2 });
  if ("has_more" in page) {
    report.newer = await ids(files.list({ limit: 3, before_id: ours[0] }));
    report.older = await ids(files.list({ limit: 3, after_id: ours.at(-1) }));
  } else {
    report.by_ids = await ids(files.list({ ids: [ours[1], ours[0], ours[1], "file_01nosuchfile"] }));
  }
  report.deleted = await files.delete(ours[0]);
  report.twice = await attempt(() => files.delete(ours[0], {}, once));
  report.gone = await attempt(() => files.retrieveMetadata(ours[0], {}, once));
  for (const id of [...ours.slice(1), report.expiring.id]) await files.delete(id);
  return report;
}

function plain(thing) {
  return JSON.parse(JSON.stringify(thing));
}

function mixedRequests() {
  const good = [0, 1, 2, 3].map((number) => request(`row-${number}`, `[[sim:text=answer ${number}]] Question ${number}?`));
  const { max_tokens, ...unlimited } = body("Hi");
  return [
    ...good,
    request("sampled", "Hi", { temperature: 0.5 }),
    { custom_id: "no-max-tokens", params: unlimited },
    request("unknown-model", "Hi", { model: "no-such-model" }),
    request("streaming", "Hi", { stream: true }),
    request("refused-by-backend", "[[sim:status=400]] Hi"),
    request("cut-short", "[[sim:stop=max_tokens]] Hi"),
    request("unicode_A-9", "[[sim:text=a\u2028b}{c]] Hi"),
  ];
}

function request(custom_id, text, extra = {}) {
  return { custom_id, params: body(text, extra) };
}

function body(text, extra = {}) {
  return { model: MODEL, max_tokens: 32, messages: [{ role: "user", content: text }], ...extra };
}

async function all(many) {
  const found = [];
  for await (const item of many) found.push(item);
  return found;
}

async function wait(id) {
  const polls = [];
  for (const deadline = Date.now() + WAIT_MS; Date.now() < deadline; await sleep(50)) {
    const batch = await batches.retrieve(id);
    polls.push({ status: batch.processing_status, counts: batch.request_counts });
    if (batch.processing_status === "ended") return [batch, polls];
  }
  throw new Error(`${id} did not end: ${JSON.stringify(polls.at(-1))}`);
}

async function attempt(call, show = (found) => ({ returned: String(found) })) {
  try {
    return show(await call());
  } catch (error) {
    return described(error);
  }
}

function described(error) {
  const classes = [];
  for (let kind = error.constructor; kind?.name; kind = Object.getPrototypeOf(kind)) classes.push(kind.name);
  const inner = error.error?.error ?? {};
  return {
    classes,
    status: error.status ?? null,
    type: inner.type ?? null,
    message: inner.message ?? String(error),
    request_id: error.requestID ?? null,
    body: error.error ?? null,
  };
}

const report = { version: JSON.parse(readFileSync(`${home}/package.json`, "utf8")).version };
for (const [name, section] of Object.entries(sections)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  console.error(name);
  try {
    report[name] = await section();
  } catch (error) {
    report[name] = { raised: described(error) };
  }
}
console.log(JSON.stringify({ async: report }));
