/** Names of the package's entries, and their sources. */
export const ENTRIES: Readonly<Record<string, string>>;
/** Writes the published declarations into a folder. */
export function buildTypes(folder: string): Promise<void>;
