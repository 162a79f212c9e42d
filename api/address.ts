/** From which address a request comes: the socket's, or what proxies say that are configured as such. */
import { BlockList, isIP } from 'node:net';
import type { HttpBindings } from '@hono/node-server';
import type { ApiContext } from './context.ts';

/** Addresses that one header may name. */
const HOPS_MAX = 20;

/** Whether an address is that of a proxy of the operator's. */
export type IsProxy = (address: string) => boolean;

/** Where no proxy is configured. */
export const nobody: IsProxy = () => false;

/** `entries` are addresses and ranges, as `10.0.0.0/8`. Throws for what is neither. */
export function makeIsProxy(entries: readonly string[]): IsProxy {
  const list = new BlockList();
  for (const entry of entries) {
    const [address = '', bits] = entry.split('/');
    const family = isIP(address);
    if (family === 0) throw new Error(`'${entry}' is no address`);
    const type = family === 6 ? 'ipv6' : 'ipv4';
    if (bits === undefined) list.addAddress(address, type);
    else if (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 6 ? 128 : 32))
      list.addSubnet(address, Number(bits), type);
    else throw new Error(`'${entry}' is no range`);
  }
  return (address) => {
    const family = isIP(address);
    return family !== 0 && list.check(address, family === 6 ? 'ipv6' : 'ipv4');
  };
}

/** The nearest address that is none of our proxies. An IPv6 address counts with its whole /64: one customer has all of it. */
export function addressOf(c: ApiContext, isProxy: IsProxy): string {
  const bindings = c.env as Partial<HttpBindings> | undefined;
  let address = plain(bindings?.incoming?.socket.remoteAddress ?? 'unknown');
  const hops = (c.req.header('x-forwarded-for') ?? '').split(',').slice(-HOPS_MAX);
  // From the right: what stands further left was written by whoever asked.
  for (const hop of hops.toReversed()) {
    const before = plain(hop.trim());
    if (!isProxy(address) || isIP(before) === 0) break;
    address = before;
  }
  return isIP(address) === 6 ? network(address) : address;
}

/** An IPv4 address that came over an IPv6 socket, as itself. */
function plain(address: string): string {
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;
}

function network(address: string): string {
  const [head = '', tail] = address.toLowerCase().split('%')[0]?.split('::') ?? [];
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros =
    tail === undefined ? [] : Array<string>(Math.max(8 - left.length - right.length, 0)).fill('0');
  return `${[...left, ...zeros, ...right].slice(0, 4).join(':')}::/64`;
}
