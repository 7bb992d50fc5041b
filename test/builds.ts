/**
 * Builds shared by the test files of one run: the first file that needs a build makes it, and every file gets
 * a copy.
 */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import { inject } from 'vitest';
import type { TestProject } from 'vitest/node';
import { pack } from '../scripts/consumers/package.mjs';

declare module 'vitest' {
  interface ProvidedContext {
    /** Folder of this run's builds, for the `demo` project. */
    readonly builds: string;
    /** The `full` flag of test/full.ts, for browser tests, which cannot read environment variables. */
    readonly full: boolean;
  }
}

const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * Vitest's global setup, called before the first file of the project. Vitest calls the returned function
 * after the last file.
 */
export function setup({ provide }: TestProject): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'builds-'));
  provide('builds', folder);
  return () => rmSync(folder, { recursive: true, force: true });
}

/** Makes something once a run: the first file that asks makes it, and the others wait. Returns its folder. */
async function once(name: string, make: (folder: string) => unknown): Promise<string> {
  const folder = join(inject('builds'), name);
  const out = join(folder, 'out');
  const [done, failed] = [join(folder, 'done'), join(folder, 'failed')];
  if (mkdirSync(folder, { recursive: true }) !== undefined) {
    try {
      mkdirSync(out);
      await make(out);
    } catch (error) {
      writeFileSync(failed, '');
      throw error;
    }
    writeFileSync(done, '');
  }
  while (!existsSync(done)) {
    if (existsSync(failed))
      throw new Error(`making ${name} failed: see the error in the test file that started it`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return out;
}

/** Copies the output of `vite build --mode …` into a folder and leaves the folder's other files in place. */
export async function putBuild(mode: 'library' | 'tools' | 'demo', into: string): Promise<void> {
  const outDir = await once(mode, (folder) =>
    build({
      root,
      mode,
      configFile: join(root, 'vite.config.ts'),
      logLevel: 'error',
      build: { outDir: folder, emptyOutDir: true },
    }),
  );
  cpSync(outDir, into, { recursive: true });
}

/** Returns the path of the packed library: PACKED_TARBALL, or what `npm pack` makes once a run. */
export async function packedLibrary(): Promise<string> {
  const given = process.env['PACKED_TARBALL'];
  if (given !== undefined) return given;
  const folder = await once('tarball', pack);
  return join(folder, readdirSync(folder)[0]!);
}
