/** `inspect`: prints what a checkpoint holds. */
import { stat } from 'node:fs/promises';
import { UsageError } from '../arguments.mjs';
import { tools } from '../built.mjs';
import { describe, openIn, textBeside } from '../checkpoints.mjs';
import { message } from '../terminal.mjs';

export async function run({ positionals: [path], options: { prefix } }) {
  await stat(path).catch((error) => {
    throw error.code === 'ENOENT' ? new UsageError(`inspect: there is no file or folder ${path}.`) : error;
  });
  const stream = await openIn(path);
  await stream.cancel();
  let described = {};
  try {
    described = describe(await textBeside(path, 'config.json'));
  } catch (error) {
    message(`config.json cannot be used: ${error.message}`);
  }
  console.log(tools.describeCheckpoint(stream.header, described, prefix));
}
