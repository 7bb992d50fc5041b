/** `inspect`: prints what a checkpoint holds. */
import { tools } from '../built.mjs';
import { checkInput, describe, openIn, textBeside } from '../checkpoints.mjs';
import { message } from '../terminal.mjs';

export async function run({ positionals: [path], options: { prefix } }) {
  await checkInput('inspect', path);
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
