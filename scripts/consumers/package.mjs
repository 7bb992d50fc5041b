// Packs the library as `npm publish` does, and installs it in projects that were copied into empty folders.
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

const npm = process.env.npm_execpath;
const [npmCommand, ...npmArgs] = npm ? [process.execPath, npm] : ['npm'];

/** Runs a command and returns what it printed. @throws if the command fails, with the end of its output */
export function run(command, args, cwd) {
  const environment = { ...process.env, NEXT_TELEMETRY_DISABLED: '1', PARCEL_WORKERS: '1', CI: '1' };
  delete environment.NODE_ENV; // of the test runner
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    env: environment,
    shell: process.platform === 'win32',
    maxBuffer: 64 * 2 ** 20,
  });
  if (status === 0) return stdout;
  const output = `${stdout ?? ''}${stderr ?? ''}${error ?? ''}`.slice(-4000);
  throw new Error(`${command} ${args.join(' ')} failed in ${cwd}:\n${output}`);
}

export const runNpm = (args, cwd) => run(npmCommand, [...npmArgs, ...args], cwd);

/** Packs the library into a folder and returns the tarball's path. */
export function pack(folder) {
  const [{ filename }] = JSON.parse(runNpm(['pack', '--json', '--pack-destination', folder], root));
  return join(folder, filename);
}

/** Unpacks a tarball of the library into the packages of a project, where `npm install` would put it. */
export function installTarball(tarball, project) {
  const target = join(project, 'node_modules', 'dinov2-webgpu');
  mkdirSync(target, { recursive: true });
  run('tar', ['-xzf', tarball, '-C', target, '--strip-components', '1'], project);
}

/** Copies a project and files that projects share into an empty folder, and installs its locked packages. */
export function copyProject(source, target, shared) {
  cpSync(source, target, {
    recursive: true,
    filter: (path) => !/[\\/](node_modules|dist|\.next|\.parcel-cache)$/.test(path),
  });
  if (shared !== undefined)
    for (const name of readdirSync(shared)) {
      const to = join(target, name);
      if (!existsSync(to)) cpSync(join(shared, name), to);
    }
  if (existsSync(join(target, 'package.json'))) runNpm(['ci', '--no-audit', '--no-fund'], target);
}

/**
 * Starts a server with a script of a project, and resolves with its address when it has printed it.
 * @returns `{ url, stop }`
 */
export function startServer(args, cwd) {
  const environment = { ...process.env, NEXT_TELEMETRY_DISABLED: '1', NO_COLOR: '1' };
  delete environment.NODE_ENV;
  delete environment.FORCE_COLOR;
  // A group of processes of its own, so that `stop` also ends the server that npm starts.
  const child = spawn(npmCommand, [...npmArgs, 'run', ...args], { cwd, env: environment, detached: true });
  const stop = () => {
    try {
      process.kill(-child.pid);
    } catch {
      // It has ended.
    }
  };
  return new Promise((resolve, reject) => {
    let output = '';
    const read = (data) => {
      output += String(data);
      const url = /http:\/\/(?:127\.0\.0\.1|localhost):\d+/.exec(output)?.[0];
      if (url !== undefined && /ready/i.test(output)) resolve({ url, stop });
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.on('error', reject);
    child.on('exit', (code) => reject(new Error(`npm run ${args.join(' ')} ended (${code}):\n${output}`)));
  });
}
