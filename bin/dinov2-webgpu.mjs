#!/usr/bin/env node
// The command line. table.mjs lists the commands.
import { readFile } from 'node:fs/promises';
import { parse, seeHelp, UsageError } from './arguments.mjs';
import { endWithParent, isHidden, runHidden } from './hidden.mjs';
import { reasonOf } from './outputs.mjs';
import { COMMANDS, EXIT } from './table.mjs';
import { message } from './terminal.mjs';

const argv = process.argv.slice(2);

// A reader that has seen enough, such as `head`, closes stdout. Models that `verify` has not compared do not hold.
process.stdout.on('error', (error) => {
  if (error.code !== 'EPIPE') message(`The output cannot be written (${reasonOf(error)}).`);
  process.exit(error.code === 'EPIPE' && argv[0] !== 'verify' ? EXIT.done : EXIT.failed);
});

function fail(error) {
  const isUsage = error instanceof UsageError;
  const text = error?.message ?? String(error);
  const code = typeof error?.code === 'string' && !text.startsWith(error.code) ? `${error.code}: ` : '';
  const more =
    error?.code === 'ADAPTER_MISSING' && isHidden()
      ? " --verbose shows the messages of the GPU's driver."
      : '';
  message(`${code}${text}${isUsage ? ` ${seeHelp(argv)}` : more}`);
  process.exitCode = isUsage ? EXIT.usage : EXIT.failed;
}

async function main() {
  const { help, version, name, ...call } = parse(argv);
  if (help) return console.log(help);
  if (version)
    return console.log(
      JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')).version,
    );
  const command = COMMANDS[name];
  if (command.gpu && !call.options.verbose && !isHidden()) return runHidden();
  const { run } = await command.load();
  return run(call);
}

if (isHidden()) {
  endWithParent();
  process.on('uncaughtException', (error) => {
    fail(error);
    process.exit();
  });
}
try {
  await main();
} catch (error) {
  fail(error);
}
