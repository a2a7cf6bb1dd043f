// typescript.mjs URL [answers]: the official TypeScript client, driven by a plan. With `answers` it
// declares that it can be asked anything, and answers.
//
// Reads the plan from standard input: a JSON list of steps, each {"step": LABEL, "do": ACTION, …},
// as tests/src/clients.rs describes them. Writes one JSON line for each step: its label and what
// the client saw. python.py does the same with the official Python client.
import { text } from 'node:stream/consumers';
import { Client, MODERN, StreamableHTTPClientTransport } from './client.mjs';
import { CAPABILITIES, Person } from './person.mjs';

// How long a step may wait for a notification.
const PATIENCE_MS = 20_000;

const answers = process.argv[3] === 'answers';
const person = new Person();
const client = new Client(
  { name: 'switchboard-tests-typescript', version: '1' },
  {
    versionNegotiation: { mode: { pin: MODERN } },
    capabilities: answers ? CAPABILITIES : {},
  },
);
if (answers) {
  client.setRequestHandler('elicitation/create', ({ params }) => person.elicit(params));
  client.setRequestHandler('sampling/createMessage', ({ params }) => person.sample(params));
  client.setRequestHandler('roots/list', () => person.roots());
}

let logs = [];
client.setNotificationHandler('notifications/message', ({ params }) => {
  logs.push(params);
});

// Changes that arrived and that no step has reported yet, and who waits for the next one.
let changes = [];
let wake = () => {};
for (const change of [
  'tools/list_changed',
  'prompts/list_changed',
  'resources/list_changed',
  'resources/updated',
]) {
  client.setNotificationHandler(`notifications/${change}`, ({ params }) => {
    changes.push(params?.uri === undefined ? { change } : { change, uri: params.uri });
    wake();
  });
}

const lists = {
  tools: async () => (await client.listTools({}, { cacheMode: 'refresh' })).tools,
  resources: async () => (await client.listResources({}, { cacheMode: 'refresh' })).resources,
  templates: async () =>
    (await client.listResourceTemplates({}, { cacheMode: 'refresh' })).resourceTemplates,
  prompts: async () => (await client.listPrompts({}, { cacheMode: 'refresh' })).prompts,
};

const metadata = ({ log_level }) =>
  log_level ? { _meta: { 'io.modelcontextprotocol/logLevel': log_level } } : {};

async function call(step) {
  const progress = [];
  logs = [];
  const result = await client.callTool(
    { name: step.name, arguments: step.arguments, ...metadata(step) },
    { onprogress: (update) => progress.push(update) },
  );
  return { result, progress, logs };
}

async function cancel(step) {
  const controller = new AbortController();
  const progress = [];
  try {
    const result = await client.callTool(
      { name: step.name, arguments: step.arguments },
      {
        signal: controller.signal,
        onprogress: (update) => {
          progress.push(update);
          controller.abort('the test has seen enough');
        },
      },
    );
    return { cancelled: false, result, progress };
  } catch (error) {
    if (!controller.signal.aborted) throw error;
    return { cancelled: true, progress };
  }
}

async function listen(step) {
  changes = [];
  const subscription = await client.listen(step.filter);
  try {
    await run(step.steps);
    const told = ({ change, uri }) => changes.some((c) => c.change === change && c.uri === uri);
    const missing = () => step.until.filter((change) => !told(change));
    let timer;
    const timeout = new Promise((_, reject) => {
      const late = () => reject(new Error(`never told of ${JSON.stringify(missing())}`));
      timer = setTimeout(late, PATIENCE_MS);
    });
    while (missing().length > 0) {
      await Promise.race([timeout, new Promise((resolve) => { wake = resolve; })]);
    }
    clearTimeout(timer);
    return { acknowledged: subscription.honoredFilter, changes };
  } finally {
    await subscription.close();
  }
}

const actions = {
  discover: async () => ({ result: client.getDiscoverResult() }),
  list: async ({ what }) => ({ items: await lists[what]() }),
  call,
  cancel,
  listen,
  read: async ({ uri }) => ({ result: await client.readResource({ uri }, { cacheMode: 'refresh' }) }),
  prompt: async (step) => ({
    result: await client.getPrompt({ name: step.name, arguments: step.arguments }),
  }),
  complete: async ({ ref, argument, context }) => ({
    result: await client.complete({ ref, argument, ...(context && { context }) }),
  }),
};

async function run(steps) {
  for (const step of steps) {
    let seen;
    person.questions = [];
    person.action = step.elicitation ?? 'accept';
    try {
      seen = { ...(await actions[step.do](step)), questions: person.questions };
    } catch (error) {
      seen = { error: { code: error.code, message: String(error.message), data: error.data } };
    }
    console.log(JSON.stringify({ step: step.step, ...seen }));
  }
}

const plan = JSON.parse(await text(process.stdin));
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2])));
await run(plan);
await client.close();
