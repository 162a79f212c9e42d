/** `npm run bench NAME [PART]…`: one bench or some of its parts, tables for people, and as its last line one JSON object. */
import { benchDoors } from './doors.ts';
import { benchEngine } from './engine.ts';
import { benchImport } from './import.ts';

type Options = { repeats: number; only: readonly string[] };
const BENCHES: Record<string, (options: Options) => Promise<Record<string, number>>> = {
  engine: benchEngine,
  doors: benchDoors,
  import: benchImport,
};
/** Pairs, where nothing else is said; an import takes its time. */
const REPEATS = 7;
const REPEATS_OF: Record<string, number> = { import: 3 };

const [name = '', ...only] = process.argv.slice(2);
const bench = BENCHES[name];
if (bench === undefined) {
  process.stderr.write(`There is no bench '${name}'. There are: ${Object.keys(BENCHES).join(', ')}.\n`);
  process.exit(2);
}
const repeats = Number(process.env['COUNTDOWN_BENCH_REPEATS'] ?? REPEATS_OF[name] ?? REPEATS);
const ratios = await bench({ repeats, only });
process.stdout.write(`${JSON.stringify({ bench: name, ratios })}\n`);
process.exit(0);
