/**
 * Runs a command in a child process whose stderr is hidden, because Dawn and the GPU's driver print warnings
 * there which have no effect. The child prints its own messages on the parent's stderr. If the child crashes,
 * the parent prints the hidden text.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { EXIT } from './table.mjs';
import { DESCRIPTOR } from './terminal.mjs';

/** Largest number of hidden characters that are kept. */
const KEPT = 65_536;

export const isHidden = () => process.env[DESCRIPTOR] !== undefined;

/** Runs this process's command again, in a child. Resolves when it has ended, and sets the exit code. */
export async function runHidden() {
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    stdio: ['inherit', 'inherit', 'pipe', 2, 'ipc'],
    env: { ...process.env, [DESCRIPTOR]: '3' },
  });
  let hidden = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (hidden = (hidden + text).slice(-KEPT)));
  let received;
  const forward = (signal) => child.kill((received = signal));
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, forward);
  const [code, signal] = await once(child, 'close');
  for (const each of signals) process.off(each, forward);
  const expected = code === null ? signal === received : Object.values(EXIT).includes(code);
  if (!expected) process.stderr.write(hidden);
  if (signal) process.kill(process.pid, signal);
  process.exitCode = code ?? EXIT.failed;
}

/** Ends this process, which `runHidden` has started, when its parent has ended. */
export function endWithParent() {
  process.once('disconnect', () => process.exit(EXIT.failed));
  process.channel?.unref();
}
