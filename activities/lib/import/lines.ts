/** Lines that a message proposes, written so that they can be pasted into the step. */

/** `mapping: { songs.year: text }`. */
export function mappingLine(key: string, word: string): string {
  const plain = /^[A-Za-z_]\w*\.(?:[\w.]*\w)?$/.test(key);
  return `mapping: { ${plain ? key : quoted(key)}: ${word} }`;
}

/** `skip: [view recent]`. */
export function skipLine(line: string): string {
  const plain = /^[a-z ]+ \w(?:[\w. ]*\w)?$/.test(line) && !line.includes('  ');
  return `skip: [${plain ? line : quoted(line)}]`;
}

/** In single quotes YAML takes everything as it is but line breaks and what cannot be printed. */
function quoted(text: string): string {
  return /^[\u0020-\u007e\u00a0-\u1fff\u3000-\ud7ff]*$/.test(text)
    ? `'${text.replaceAll("'", "''")}'`
    : JSON.stringify(text);
}

/** With control characters in sight, so that a message stays one line. */
export function visible(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
  return text.replace(/[\u0000-\u001f]/g, hexOf);
}

function hexOf(character: string): string {
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
}
