/**
 * The texts of one plan. Paths into an included runbook begin with a mark of their own, so that whatever is found there is
 * placed in its file; paths without one are of the runbook itself.
 */
import type { Path, Source } from './yaml.ts';

export type Sources = Source & {
  /** Adds the text of an included runbook. The path that stands before every path into it. */
  include(source: Source): Path;
  /** The text that a path leads into, and the path inside it. */
  locate(path: Path): { source: Source; path: Path };
};

const MARK = '@';

export function joinSources(root: Source): Sources {
  const included: Source[] = [];
  const locate = (path: Path): { source: Source; path: Path } => {
    const [mark, index, ...rest] = path;
    const source = mark === MARK && typeof index === 'number' ? included[index] : undefined;
    return source === undefined ? { source: root, path } : { source, path: rest };
  };
  return {
    ...root,
    locate,
    place(path, part) {
      const at = locate(path);
      return at.source.place(at.path, part);
    },
    include(source) {
      const known = included.indexOf(source);
      return [MARK, known < 0 ? included.push(source) - 1 : known];
    },
  };
}
