// Installs the locked packages of the site if they are missing or out of date.
import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const site = dirname(fileURLToPath(import.meta.url));

export function install() {
  const installed = join(site, 'node_modules', '.package-lock.json');
  const locked = join(site, 'package-lock.json');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(locked).mtimeMs) return;
  const npm = process.env.npm_execpath;
  const [command, ...args] = npm ? [process.execPath, npm] : ['npm'];
  const { status } = spawnSync(command, [...args, 'ci', '--no-audit', '--no-fund'], {
    cwd: site,
    stdio: 'inherit',
    shell: !npm,
  });
  if (status !== 0)
    throw new Error('The packages of the documentation site could not be installed (npm ci in site/).');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) install();
