// Only the compiler reads this: the types of the client are those of the description of the API.

import type { components } from "../build/description.js";
import type * as client from "../dist/index.js";

type Described = components["schemas"];

/** What JSON has where the client has bytes. */
type OnWire<T> = T extends Uint8Array
  ? string
  : T extends (infer Item)[]
    ? OnWire<Item>[]
    : T extends object
      ? { [Name in keyof T]: OnWire<T[Name]> }
      : T;

/** An answer as it is described is one that the client knows, with each of its fields. */
type Known<Answer, Type> = [Exclude<keyof Answer, keyof Type>] extends [never]
  ? Answer extends OnWire<Type>
    ? true
    : { isNot: Type }
  : { hasNo: Exclude<keyof Answer, keyof Type> };

const known = <_ extends true>() => {};

known<Known<Described["About"], client.About>>();
known<Known<Described["Publications"], client.Publications>>();
known<Known<Described["Published"], client.PublishedKeyPackage>>();
known<Known<Described["Inventory"], client.Inventory>>();
known<Known<Described["SuiteCounts"], client.SuiteCounts>>();
known<Known<Described["Comparison"], client.Comparison>>();
known<Known<Described["Synced"], client.Synced>>();
known<Known<Described["Devices"]["devices"][0], client.DeviceInfo>>();
known<Known<Described["Listing"], client.Listing>>();
known<Known<Described["Listed"], client.ListedKeyPackage>>();
known<Known<Described["Reservation"], client.Reservation>>();
known<Known<Described["GivenBack"], client.GivenBack>>();
known<Known<Described["KeyPackageStatus"], client.KeyPackageStatus>>();
known<Known<Described["Recipient"], client.Recipient>>();
known<Known<Described["Posted"], client.Posted>>();
known<Known<Described["Outcome"], client.Outcome>>();
known<Known<Described["Claimed"], client.Claim>>();
known<Known<Described["Delivery"], client.Delivery>>();
known<Known<Described["Event"], client.Event>>();
known<Known<Described["EventPage"], client.EventPage>>();
known<Known<Described["Tokens"], client.Tokens>>();
known<Known<Described["NewToken"], client.NewToken>>();
known<Known<Described["Problem"], client.ProblemBody>>();

/** What the client lets somebody ask for is as it is described. */
const asked = <Description, _ extends Description>() => {};

asked<Described["ReserveRequest"], client.ReserveRequest>();

/** The codes of the one are those of the other. */
const codes = <_ extends never>() => {};

codes<Exclude<Described["Code"], client.KnownProblemCode>>();
codes<Exclude<client.KnownProblemCode, Described["Code"]>>();
codes<Exclude<Described["KeyPackageCode"], client.KnownKeyPackageCode>>();
codes<Exclude<client.KnownKeyPackageCode, Described["KeyPackageCode"]>>();
