/** Ids of repositories on the Hugging Face hub. */
import { withoutSecrets } from './url.js';

/** The address of the hub. */
export const HUB = 'https://huggingface.co';

/**
 * Returns whether a text is `owner/name` in the characters that the hub allows. A path is no hub id, because
 * it begins with `/` or a dot; neither is a URL, because it has a colon.
 */
export const isHubId = (id: string | URL): id is string =>
  typeof id === 'string' && /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(id);

/** An address for a message. */
export const shown = (address: string | URL): string => withoutSecrets(address).slice(0, 200);
