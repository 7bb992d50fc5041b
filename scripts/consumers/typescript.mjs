// Compiles an application against the packed library, with each version of TypeScript and without
// `skipLibCheck`.
import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { copyProject, installTarball, root } from './package.mjs';

export const VERSIONS = ['5.9', '6', '7'];
export const RESOLUTIONS = { bundler: 'esnext', node16: 'node16' };
export const LIBS = ['ES2022', 'ESNext'];

/** Installs the compilers and the library in an empty folder, and returns the folder. */
export function installCompilers({ tarball, into }) {
  const project = join(into, 'typescript');
  copyProject(join(root, 'test/consumers/typescript'), project);
  installTarball(tarball, project);
  return project;
}

/**
 * Compiles the application.
 * @param options `version`, `resolution` and `lib`: of the lists above. `webgpuTypes`: true adds @webgpu/types
 * @returns number of errors by origin: `library`, `webgpuTypes`, `app` (app.ts), `gpu` (gpu.ts), `other`
 */
export function compile(project, { version, resolution, lib, webgpuTypes }) {
  const compilerOptions = {
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    noEmit: true,
    target: 'es2022',
    module: RESOLUTIONS[resolution],
    moduleResolution: resolution,
    lib: [lib, 'DOM', 'DOM.Iterable'],
    types: webgpuTypes ? ['@webgpu/types'] : [],
  };
  const config = join(project, 'tsconfig.json');
  writeFileSync(config, JSON.stringify({ compilerOptions, files: ['app.ts', 'gpu.ts'] }));
  const compiler = join(project, 'node_modules', `typescript-${version}`, 'bin', 'tsc');
  const { status, stdout, stderr } = spawnSync(process.execPath, [compiler, '-p', '.', '--pretty', 'false'], {
    cwd: project,
    encoding: 'utf8',
  });
  rmSync(config);
  const errors = stdout.split('\n').filter((line) => /error TS\d+/.test(line));
  if ((status === 0) !== (errors.length === 0)) throw new Error(`TypeScript ${version}: ${stdout}${stderr}`);
  const counts = { library: 0, webgpuTypes: 0, app: 0, gpu: 0, other: 0 };
  for (const line of errors) counts[originOf(line)] += 1;
  return { ...counts, text: errors.slice(0, 5).join('\n') };
}

function originOf(line) {
  if (line.startsWith('node_modules/dinov2-webgpu/')) return 'library';
  // Two declarations of one name conflict: the compiler reports the place of either.
  if (/^node_modules\/(@webgpu|@typescript|typescript-)/.test(line)) return 'webgpuTypes';
  return line.startsWith('app.ts') ? 'app' : line.startsWith('gpu.ts') ? 'gpu' : 'other';
}
