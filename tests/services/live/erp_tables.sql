create type rodzaj_osoby as enum ('firma', 'osoba');
create type stan_zamowienia as enum ('nowe', 'gotowe', 'anulowane', 'zwrot');
create table kontrahenci (
  firma smallint, id int, rodzaj rodzaj_osoby not null, nazwa text, imie varchar(50), nazwisko varchar(50), nip varchar(20),
  email text, email_ksiegowosc text, telefon varchar(40), usuniety boolean not null default false, zmieniono timestamptz,
  primary key (firma, id)
);
alter table kontrahenci alter nazwa set storage external;
create table adresy (
  id uuid primary key, firma smallint not null, kontrahent int not null, rodzaj varchar(20), ulica text, miasto text,
  kod char(6), kraj char(2)
);
create table zamowienia (
  id uuid primary key, firma smallint, kontrahent int, numer text, email text, telefon text, waluta char(3),
  wartosc numeric(14,2), stan stan_zamowienia, zlozono timestamp
);
create table pozycje (
  zamowienie uuid, lp smallint, towar text, grupa text, ilosc numeric(12,3), zwrot numeric(12,3), primary key (zamowienie, lp)
);
create table faktury (
  firma smallint, seria varchar(4), numer int, kontrahent int, waluta char(3), brutto numeric(14,2) not null,
  do_zaplaty numeric(14,2), wystawiona date not null, termin date, stan smallint, primary key (firma, seria, numer),
  foreign key (firma, kontrahent) references kontrahenci on update cascade on delete set null (kontrahent)
);
create table zgody (id bigserial primary key, firma smallint, kontrahent int, cel text, udzielona boolean, kiedy timestamp);
create table kontakty (firma smallint, kontrahent int, kiedy timestamptz, primary key (firma, kontrahent, kiedy));
create table koniec (id int primary key);
