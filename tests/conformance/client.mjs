// client.mjs URL: what the official suite starts as the client under test.
//
// URL is the suite's mock server. With SWITCHBOARD naming the program, a gateway is started in
// front of it and an official client does through the gateway what the scenario expects, so the
// mock server judges the requests that the gateway makes. Without SWITCHBOARD the client talks to
// the mock server directly: the control that the client itself is right. FRONT_REVISION is the
// revision that the client speaks, which need not be that of the mock server.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Client, MODERN, StreamableHTTPClientTransport } from '../real/client.mjs';

const program = process.env.SWITCHBOARD;
const modern = process.env.FRONT_REVISION === MODERN;
const scenario = process.env.MCP_CONFORMANCE_SCENARIO;
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');
const options = { timeout: 15_000 };

// What the scenario gives a client that has credentials of its own, as the gateway's configuration
// has it. Where tokens are asked for is found out.
function credentials() {
  if (!context.client_id) return {};
  const { client_id, client_secret, private_key_pem, signing_algorithm } = context;
  return {
    oauth: {
      grant: 'client_credentials',
      client_id,
      ...(client_secret ? { client_secret } : {}),
      ...(private_key_pem ? { private_key: { pem: private_key_pem, alg: signing_algorithm } } : {}),
    },
  };
}

// Starts `switchboard serve` in front of `backend`; resolves, once it knows what the backend
// offers, to its endpoint and a way to stop it.
async function startGateway(backend) {
  const folder = await mkdtemp(join(tmpdir(), 'switchboard-conformance-'));
  const config = join(folder, 'switchboard.json');
  await writeFile(config, JSON.stringify({
    server: { listen: '127.0.0.1:0', ops_listen: '127.0.0.1:0' },
    backends: { mock: { url: backend, prefix: '', ...credentials() } },
  }));
  const child = spawn(program, ['serve', '-c', config], { stdio: ['ignore', 'pipe', 'pipe'] });
  const exited = once(child, 'exit');
  const found = (pattern) => new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        const match = pattern.exec(line);
        if (match) resolve(match[1]);
      });
    }
    exited.then(([code]) => reject(new Error(`switchboard ended with ${code} before it listened`)));
  });
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => console.error(`switchboard: ${line}`));
  }
  const [url, ops] = await Promise.all([
    found(/(http:\/\/127\.0\.0\.1:\d+\/mcp)(?![\w/])/),
    found(/(http:\/\/127\.0\.0\.1:\d+)\/metrics/),
  ]);
  while (!(await fetch(`${ops}/readyz`)).ok) await new Promise((resolve) => setTimeout(resolve, 50));
  const stop = async () => {
    child.kill('SIGTERM');
    await exited;
    await rm(folder, { recursive: true });
  };
  return { url, stop };
}

// A value that satisfies a simple schema.
function example(schema = {}) {
  if ('default' in schema) return schema.default;
  if (schema.enum) return schema.enum[0];
  switch (schema.type) {
    case 'number': case 'integer': return 7;
    case 'boolean': return true;
    case 'array': return [];
    case 'object': return exampleArguments(schema);
    default: return 'text';
  }
}

function exampleArguments(schema) {
  const properties = Object.entries(schema?.properties ?? {});
  return Object.fromEntries(properties.map(([name, property]) => [name, example(property)]));
}

// The scenarios contain calls that must fail: what the mock server saw is what counts.
async function attempt(what, action) {
  try {
    return await action();
  } catch (error) {
    console.log(`${what}: ${error.message}`);
    return undefined;
  }
}

async function connect(url) {
  const client = new Client(
    { name: 'switchboard-conformance', version: '1' },
    {
      capabilities: { elicitation: { form: {} }, sampling: {}, roots: {} },
      ...(modern ? { versionNegotiation: { mode: { pin: MODERN } } } : {}),
    },
  );
  client.setRequestHandler('elicitation/create', (request) => ({
    action: 'accept',
    content: exampleArguments(request.params.requestedSchema),
  }));
  client.setRequestHandler('sampling/createMessage', () => ({
    role: 'assistant', model: 'none', content: { type: 'text', text: 'text' },
  }));
  client.setRequestHandler('roots/list', () => ({ roots: [] }));
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  return client;
}

async function play(client) {
  const tools = (await attempt('tools/list', () => client.listTools(undefined, options)))?.tools ?? [];
  console.log(`tools: ${tools.map((tool) => tool.name).join(' ')}`);
  const call = (name, args) =>
    attempt(name, () => client.callTool({ name, arguments: args }, options));

  switch (scenario) {
    case 'tools_call':
      await call('add_numbers', { a: 5, b: 3 });
      break;
    case 'elicitation-sep1034-client-defaults':
      await call('test_client_elicitation_defaults', {});
      break;
    case 'sse-retry':
      await call('test_reconnection', {});
      break;
    case 'http-custom-headers':
      for (const toolCall of context.toolCalls ?? []) await call(toolCall.name, toolCall.arguments);
      break;
    case 'http-standard-headers':
    case 'http-invalid-tool-headers':
      await useEverything(client, tools, call);
      break;
    case 'sep-2322-client-request-state':
      // Side by side, so that a state given to the wrong call would show.
      await Promise.all([call('test_mrtr_echo_state', {}), call('test_mrtr_unrelated', {})]);
      await call('test_mrtr_no_state', {});
      await call('test_mrtr_no_result_type', {});
      break;
    case 'json-schema-2020-12-preservation': {
      // The schema goes back to the server as it arrived, for the server to compare.
      const echo = tools.find((tool) => tool.name.includes('echo'));
      const subject = tools.find((tool) => tool !== echo && tool.name.includes('json_schema'));
      await call(echo?.name, { schema: subject?.inputSchema });
      break;
    }
    default:
      // Of the others the list alone is judged.
      break;
  }
}

async function useEverything(client, tools, call) {
  for (const tool of tools) await call(tool.name, exampleArguments(tool.inputSchema));
  const resources = await attempt('resources/list', () => client.listResources(undefined, options));
  for (const { uri } of resources?.resources ?? []) {
    await attempt(uri, () => client.readResource({ uri }, options));
  }
  const prompts = await attempt('prompts/list', () => client.listPrompts(undefined, options));
  for (const { name } of prompts?.prompts ?? []) {
    await attempt(name, () => client.getPrompt({ name }, options));
  }
}

const mock = process.argv.at(-1);
const gateway = program ? await startGateway(mock) : { url: mock, stop: async () => {} };
try {
  const client = await connect(gateway.url);
  await play(client);
  await client.close();
} finally {
  await gateway.stop();
}
