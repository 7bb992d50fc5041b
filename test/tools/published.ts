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
  /**
   * Runs `embed` with the smallest fixture model, under a name that could be a Hub id, on the adapter of
   * these tests.
   */
  embed(...args: string[]): {
    readonly status: number | null;
    readonly stdout: string;
    readonly stderr: string;
  };
  remove(): void;
}

export async function publish(packages: readonly string[]): Promise<Published> {
  const folder = mkdtempSync(join(tmpdir(), 'embed-'));
  cpSync(join(root, 'bin'), join(folder, 'bin'), { recursive: true });
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
  return {
    folder,
    embed: (...args) =>
      spawnSync(
        process.execPath,
        [join(folder, 'bin/dinov2-webgpu.mjs'), 'embed', '--model', 'models/tiny', ...args],
        { encoding: 'utf8', cwd: folder, env: { ...process.env, LD_LIBRARY_PATH: loaders } },
      ),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
