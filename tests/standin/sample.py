"""A schema with everything that the stand-in knows, and its tables."""

from __future__ import annotations

from standin.prisma.reading import read_schema

TEXT = """
datasource client {
  provider = "postgresql"
  url      = env("DATABASE_URL")
}

generator client {
  provider      = "prisma-client-py"
  binaryTargets = ["native", "linux-musl"] // never read
}

/// Who has things
model Owner {
  owner_id   String    @id @default(uuid())
  name       String? // "quoted" // twice
  email      String?   @unique
  tags       String[]
  labels     String[]  @default(["new", "n\\"2"])
  spend      Float     @default(0.0)
  tpm        BigInt?
  size       Int?
  blocked    Boolean   @default(false)
  metadata   Json      @default("{}")
  extra      Json?
  colour     Colour    @default(RED)
  colours    Colour[]
  price      Decimal?
  picture    Bytes?
  created_at DateTime  @default(now()) @map("made_at")
  updated_at DateTime  @updatedAt
  seen_at    DateTime? @db.Timestamptz(6)
  days       DateTime[]
  boss_id    String?
  boss       Owner?    @relation("Boss", fields: [boss_id], references: [owner_id])
  staff      Owner[]   @relation("Boss")
  things     Thing[]

  @@index([name, created_at(sort: Desc)], map: "by_name")
  @@map("OwnerTable")
}

model Thing {
  owner_id String
  name     String
  number   Int     @default(autoincrement())
  weight   Float?
  note     String  @default ("")
  maker_id String?
  owner    Owner   @relation(fields: [owner_id], references: [owner_id], onDelete: Cascade)
  maker    Maker?  @relation(fields: [maker_id], references: [id])

  @@id([owner_id, name])
  @@unique([number])
}

model Maker {
  id     String  @id @default(cuid())
  name   String  @unique
  things Thing[]
}

model Counter {
  day    String
  kind   String?
  hits   BigInt   @default(0)
  spend  Float    @default(0)
  seen   DateTime @default(now())

  @@unique([day, kind], name: "per_day")
}

model Nowhere {
  id String @id
}

enum Colour {
  RED
  GREEN
}
"""

SCHEMA = read_schema(TEXT)

TABLES = """
CREATE TYPE "Colour" AS ENUM ('RED', 'GREEN');
CREATE TABLE "OwnerTable" (
  "owner_id" TEXT PRIMARY KEY, "name" TEXT, "email" TEXT, "tags" TEXT[], "labels" TEXT[],
  "spend" DOUBLE PRECISION NOT NULL, "tpm" BIGINT, "size" INTEGER, "blocked" BOOLEAN NOT NULL,
  "metadata" JSONB NOT NULL, "extra" JSONB, "colour" "Colour" NOT NULL, "colours" "Colour"[],
  "price" NUMERIC(65, 30), "picture" BYTEA, "made_at" TIMESTAMP(3) NOT NULL,
  "updated_at" TIMESTAMP(3) NOT NULL, "seen_at" TIMESTAMPTZ(6), "days" TIMESTAMP(3)[],
  "boss_id" TEXT REFERENCES "OwnerTable"
);
CREATE UNIQUE INDEX "owner_email" ON "OwnerTable" ("email");
CREATE TABLE "Maker" ("id" TEXT PRIMARY KEY, "name" TEXT NOT NULL UNIQUE);
CREATE TABLE "Thing" (
  "owner_id" TEXT NOT NULL REFERENCES "OwnerTable" ON DELETE CASCADE, "name" TEXT NOT NULL,
  "number" SERIAL UNIQUE, "weight" DOUBLE PRECISION, "note" TEXT NOT NULL DEFAULT '',
  "maker_id" TEXT REFERENCES "Maker", PRIMARY KEY ("owner_id", "name")
);
CREATE TABLE "Counter" (
  "day" TEXT NOT NULL, "kind" TEXT, "hits" BIGINT NOT NULL, "spend" DOUBLE PRECISION NOT NULL,
  "seen" TIMESTAMP(3) NOT NULL, UNIQUE ("day", "kind")
);
"""
"""There is no table for the model ``Nowhere``."""
