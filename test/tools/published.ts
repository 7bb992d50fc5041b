/**
 * The published command line in a temporary folder: bin/ and dist/, with selected packages in node_modules.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const root = fileURLToPath(new URL('../..', import.meta.url));
export const tiny: string = join(root, 'test/fixtures/reference/tiny-plain');
export const images: string = join(root, 'test/fixtures/pixels/images');

export interface Published {
  readonly folder: string;
  /** Runs a command in the folder, on the adapter of these tests. */
  run(...args: string[]): Ended;
  /** Runs `embed` with the smallest fixture model, under a name that could be a Hub id. */
  embed(...args: string[]): Ended;
  remove(): void;
}

/** A process that has ended. */
export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export async function publish(packages: readonly string[]): Promise<Published> {
  const folder = mkdtempSync(join(tmpdir(), 'embed-'));
  for (const name of ['bin', 'package.json'])
    cpSync(join(root, name), join(folder, name), { recursive: true });
  for (const mode of ['library', 'tools'])
    await build({
      root,
      mode,
      configFile: join(root, 'vite.config.ts'),
      logLevel: 'error',
      build: { outDir: join(folder, 'dist'), emptyOutDir: false },
    });
  mkdirSync(join(folder, 'node_modules'));
  for (const name of packages)
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name));
  cpSync(tiny, join(folder, 'models/tiny'), { recursive: true });
  // Folders of the GPU libraries that this process loaded by path; the child process finds them here.
  const loaders = [process.env['SWIFTSHADER_DIR'], process.env['LD_LIBRARY_PATH']].filter(Boolean).join(':');
  const run = (...args: string[]): Ended =>
    spawnSync(process.execPath, [join(folder, 'bin/dinov2-webgpu.mjs'), ...args], {
      encoding: 'utf8',
      cwd: folder,
      env: { ...process.env, LD_LIBRARY_PATH: loaders },
    });
  return {
    folder,
    run,
    embed: (...args) => run('embed', '--model', 'models/tiny', ...args),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
