// typescript_oauth.mjs URL TOOL: the official TypeScript client, which knows nothing but the address.
// It finds out where tokens are had, registers, has its user's browser consent, calls the tool, and prints
// one line of JSON: where it was sent, with which scope, and what it saw.
import { Client, MODERN, StreamableHTTPClientTransport } from './client.mjs';

const [, , url, tool] = process.argv;
let verifier, registered, tokens, sentTo;
const provider = {
  redirectUrl: 'http://127.0.0.1:1/callback',
  clientMetadata: {
    client_name: 'switchboard-tests-typescript',
    redirect_uris: ['http://127.0.0.1:1/callback'],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  },
  state: () => 'of-this-test',
  clientInformation: () => registered,
  saveClientInformation: (information) => {
    registered = information;
  },
  tokens: () => tokens,
  saveTokens: (saved) => {
    tokens = saved;
  },
  redirectToAuthorization: (to) => {
    sentTo = to;
  },
  saveCodeVerifier: (saved) => {
    verifier = saved;
  },
  codeVerifier: () => verifier,
};
// What a browser does whose user agrees to everything: where it is led in the end.
const browse = async (url) => {
  const cookies = new Map();
  let request = { redirect: 'manual' };
  for (let hops = 0; hops < 10; hops += 1) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(url, { ...request, headers: { ...request.headers, cookie } });
    for (const set of response.headers.getSetCookie()) {
      const [pair] = set.split(';');
      cookies.set(pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1));
    }
    const location = response.headers.get('location');
    request = { redirect: 'manual' };
    if (location) {
      url = new URL(location, url);
      if (url.href.startsWith(provider.redirectUrl)) return url;
      continue;
    }
    const page = await response.text();
    const [, action] = page.match(/action="([^"]+)"/) ?? [];
    if (!action) throw new Error(`${response.status}: ${page}`);
    const [, asked] = page.match(/name="request" value="([^"]+)"/);
    url = new URL(action, url);
    const body = new URLSearchParams({ request: asked, decision: 'allow' });
    request = { redirect: 'manual', method: 'POST', body, headers: { origin: url.origin } };
  }
  throw new Error('it never ends');
};
let discovery;
provider.saveDiscoveryState = (state) => {
  discovery = state;
};
provider.discoveryState = () => discovery;

const client = () =>
  new Client(
    { name: 'switchboard-tests-typescript', version: '1' },
    { versionNegotiation: { mode: { pin: MODERN } } },
  );
const transport = () => new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });

const first = transport();
try {
  await client().connect(first);
  await first.send({ jsonrpc: '2.0', id: 1, method: 'ping' });
} catch (error) {
  if (!sentTo) throw error;
}
await first.finishAuth((await browse(sentTo)).searchParams);

const second = client();
await second.connect(transport());
const result = await second.callTool({ name: tool, arguments: { x: 1 } });
const asked = sentTo.searchParams;
process.stdout.write(
  JSON.stringify({ scope: asked.get('scope'), resource: asked.get('resource'), result }) + '\n',
);
await second.close();
