// typescript_legacy.mjs URL: the official TypeScript client of the legacy era, SDK 1.x, driven by a
// plan as typescript.mjs is. It can be asked anything, and answers.
import { text } from 'node:stream/consumers';
import { installed } from './fixture/common.mjs';
import { CAPABILITIES, Person } from './person.mjs';

const sdk = (file) => installed(`@modelcontextprotocol/sdk/${file}`);
const { Client } = await sdk('client/index.js');
const { StreamableHTTPClientTransport } = await sdk('client/streamableHttp.js');
const {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ElicitationCompleteNotificationSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  PromptListChangedNotificationSchema,
  ResourceListChangedNotificationSchema,
  ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
} = await sdk('types.js');

// How long a step may wait for a notification.
const PATIENCE_MS = 20_000;

const person = new Person();
const client = new Client(
  { name: 'switchboard-tests-typescript-legacy', version: '1' },
  { capabilities: CAPABILITIES },
);
client.setRequestHandler(ElicitRequestSchema, ({ params }) => person.elicit(params));
client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => person.sample(params));
client.setRequestHandler(ListRootsRequestSchema, () => person.roots());

// What arrived that belongs to no request, and who waits for more.
let logs = [];
let completed = [];
let changes = [];
let wake = () => {};
const note = (list, item) => {
  list().push(item);
  wake();
};
client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) =>
  note(() => logs, params),
);
client.setNotificationHandler(ElicitationCompleteNotificationSchema, ({ params }) =>
  note(() => completed, params.elicitationId),
);
for (const [schema, change] of [
  [ToolListChangedNotificationSchema, 'tools/list_changed'],
  [PromptListChangedNotificationSchema, 'prompts/list_changed'],
  [ResourceListChangedNotificationSchema, 'resources/list_changed'],
  [ResourceUpdatedNotificationSchema, 'resources/updated'],
]) {
  client.setNotificationHandler(schema, ({ params }) =>
    note(() => changes, params?.uri === undefined ? { change } : { change, uri: params.uri }),
  );
}

// Waits until nothing is missing any more of what notifications bring.
async function until(missing) {
  let timer;
  const timeout = new Promise((_, reject) => {
    const late = () => reject(new Error(`never told of ${JSON.stringify(missing())}`));
    timer = setTimeout(late, PATIENCE_MS);
  });
  try {
    while (missing().length > 0) {
      await Promise.race([timeout, new Promise((resolve) => (wake = resolve))]);
    }
  } finally {
    clearTimeout(timer);
  }
}

const lists = {
  tools: async (page) => (await client.listTools(page)).tools,
  resources: async (page) => (await client.listResources(page)).resources,
  templates: async (page) => (await client.listResourceTemplates(page)).resourceTemplates,
  prompts: async (page) => (await client.listPrompts(page)).prompts,
};

async function call(step) {
  const progress = [];
  logs = [];
  if (step.log_level) await client.setLoggingLevel(step.log_level);
  const params = { name: step.name, arguments: step.arguments };
  const options = { onprogress: (update) => progress.push(update) };
  const result = await client.callTool(params, undefined, options);
  return { result, progress, logs };
}

async function task(step) {
  const statuses = [];
  const params = { name: step.name, arguments: step.arguments };
  const stream = client.experimental.tasks.callToolStream(params, undefined, {
    task: { ttl: 60_000 },
  });
  for await (const message of stream) {
    if (message.type === 'taskCreated' || message.type === 'taskStatus') {
      statuses.push(message.task.status);
    }
    if (message.type === 'error') throw message.error;
    if (message.type === 'result') return { result: message.result, statuses };
  }
  throw new Error(`no result after ${statuses}`);
}

async function cancel(step) {
  const controller = new AbortController();
  const progress = [];
  const onprogress = (update) => {
    progress.push(update);
    controller.abort('the test has seen enough');
  };
  try {
    const params = { name: step.name, arguments: step.arguments };
    const options = { signal: controller.signal, onprogress };
    const result = await client.callTool(params, undefined, options);
    return { cancelled: false, result, progress };
  } catch (error) {
    if (!controller.signal.aborted) throw error;
    return { cancelled: true, progress };
  }
}

async function listen(step) {
  changes = [];
  const uris = step.filter.resourceSubscriptions ?? [];
  for (const uri of uris) await client.subscribeResource({ uri });
  await run(step.steps);
  const told = ({ change, uri }) => changes.some((c) => c.change === change && c.uri === uri);
  await until(() => step.until.filter((change) => !told(change)));
  for (const uri of uris) await client.unsubscribeResource({ uri });
  return { changes };
}

const actions = {
  discover: () => ({ result: client.getServerCapabilities() }),
  list: async ({ what }) => ({ items: await lists[what]({}) }),
  call,
  task,
  cancel,
  listen,
  read: async ({ uri }) => ({ result: await client.readResource({ uri }) }),
  prompt: async ({ name, arguments: given }) => ({
    result: await client.getPrompt({ name, arguments: given }),
  }),
};

// The pages that were opened must also be told when they are done with.
async function completions(questions) {
  const opened = questions.filter(({ mode }) => mode === 'url').map((q) => q.elicitationId);
  await until(() => opened.filter((id) => !completed.includes(id)));
  return opened;
}

async function run(steps) {
  for (const step of steps) {
    let seen;
    person.questions = [];
    person.action = step.elicitation ?? 'accept';
    try {
      seen = { ...(await actions[step.do](step)), questions: person.questions };
      if (step.completes) seen.completed = await completions(person.questions);
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
