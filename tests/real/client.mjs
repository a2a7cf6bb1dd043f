// The official TypeScript client, from where scripts/install-test-tools put it.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const cache = process.env.SWITCHBOARD_TEST_CACHE;
if (!cache) throw new Error('SWITCHBOARD_TEST_CACHE names the folder with the installed packages');
const fromCache = createRequire(join(cache, 'npm', 'package.json'));

export const { Client, StreamableHTTPClientTransport } = await import(
  pathToFileURL(fromCache.resolve('@modelcontextprotocol/client')).href
);

export const MODERN = '2026-07-28';
